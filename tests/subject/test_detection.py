"""The tools that look at real people must see this one: MediaPipe's face mesh and its person segmentation."""

import numpy as np
import pytest

from r2talker.subject.config import SubjectConfig
from r2talker.subject.face import Expression
from r2talker.subject.landmarks import Landmarks
from r2talker.subject.make import make_moments
from r2talker.subject.motion import Motion, move
from r2talker.subject.person import Moment, Person, Picture
from r2talker.subject.truth import project
from r2talker.subject.voice import synthesise_speech
from tests.tolerances import TOLERANCES

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype:UserWarning")

# Mesh vertices on the drawn eyes (iBUG 36-47) and outer and inner lips (48-67), read off MediaPipe's published mesh picture.
EYES = [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
LIPS = [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]

Shown = tuple[str, Picture, np.ndarray]


def pick(motion: Motion) -> dict[str, int]:
    yaw = motion.head[:, 0, 2]
    return {"first": 0, "most to the left": int(yaw.argmin()), "most to the right": int(yaw.argmax())}


@pytest.fixture(scope="module")
def shown() -> list[Shown]:
    """Named pictures at the demo's size with their exact landmarks in pixels."""
    config = SubjectConfig(seconds=16.0)
    motion, landmarks = move(config), Landmarks()
    moments = make_moments(synthesise_speech(config.seconds, config.seed), motion, landmarks.shift)
    chosen = {name: (moments[frame], frame) for name, frame in pick(motion).items()}
    still = moments[0]
    for name, expression in {
        "mouth open": Expression(open=1.0),
        "eyes shut": Expression(blink=(1.0, 1.0)),
        "lips rounded": Expression(open=0.3, width=-1.0),
        "brows raised": Expression(open=0.2, width=1.0, brow=1.0),
    }.items():
        chosen[name] = (Moment(expression, still.head, still.torso, still.gaze), 0)
    person = Person(config)
    return [
        (
            name,
            person.draw(moment),
            project(landmarks.place(moment.expression)[None], motion.head[frame : frame + 1], config.focal, config.size)[0],
        )
        for name, (moment, frame) in chosen.items()
    ]


@pytest.fixture(scope="module")
def meshes(shown: list[Shown]) -> dict[str, list[np.ndarray]]:
    """Every mesh that MediaPipe finds in each picture, pixels."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    found = {}
    with FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=3) as detector:
        for name, picture, _ in shown:
            faces = detector.process(picture.rgb).multi_face_landmarks or []
            size = picture.rgb.shape[0]
            found[name] = [np.array([[point.x * size, point.y * size] for point in face.landmark]) for face in faces]
    return found


def test_one_face_is_found(meshes: dict[str, list[np.ndarray]]) -> None:
    assert {name: len(faces) for name, faces in meshes.items()} == dict.fromkeys(meshes, 1)


@pytest.mark.parametrize(("points", "vertices"), [(slice(36, 48), EYES), (slice(48, 68), LIPS)], ids=["eyes", "lips"])
def test_mesh_lies_on_the_drawing(
    shown: list[Shown], meshes: dict[str, list[np.ndarray]], points: slice, vertices: list[int]
) -> None:
    for name, _, pixels in shown:
        face_width = np.linalg.norm(pixels[0] - pixels[16])
        error = np.linalg.norm(meshes[name][0][vertices] - pixels[points], axis=-1).mean() / face_width
        assert error < TOLERANCES["mesh on the drawn face"].atol, name


def test_person_is_told_from_the_room(shown: list[Shown]) -> None:
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    with SelfieSegmentation(model_selection=0) as segmenter:
        for name, picture, _ in shown:
            found, drawn = segmenter.process(picture.rgb).segmentation_mask > 0.5, picture.labels > 0
            assert (found & drawn).sum() / (found | drawn).sum() > 0.9, name
