"""A whole clip: truth that agrees with the camera, the voice and the picture."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.subject.config import SubjectConfig
from r2talker.subject.landmarks import Landmarks
from r2talker.subject.make import make_moments, make_subject
from r2talker.subject.motion import move
from r2talker.subject.person import Moment, Person, Picture
from r2talker.subject.truth import LABELS, TRUTH_FILE, load_truth
from r2talker.subject.voice import synthesise_speech
from tests.subject.conftest import Clip
from tests.tolerances import TOLERANCES, assert_close


def test_file_has_pictures_and_voice(clip: Clip) -> None:
    with av.open(str(clip.subject.video)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, float(video.average_rate), audio.rate) == (96, 96, 25.0, 16000)
        assert sum(1 for _ in container.decode(video=0)) == clip.config.frames == 150


def test_landmarks_project_through_the_camera(clip: Clip) -> None:
    """By the rays of upstream.md 2.3: a pixel's ray through c2w must meet the landmark in NGP space."""
    truth = clip.subject.truth
    centre = truth.size / 2
    x, y = np.moveaxis((truth.landmarks_2d - centre) / truth.focal, -1, 0)
    directions = np.einsum("tij,tkj->tki", truth.c2w[:, :3, :3], np.stack([x, y, np.ones_like(x)], -1))
    towards = 4 * truth.landmarks[..., [1, 2, 0]] - truth.c2w[:, None, :3, 3]
    depth = np.einsum("tki,tki->tk", towards, directions) / np.einsum("tki,tki->tk", directions, directions)
    miss = np.linalg.norm(towards - depth[..., None] * directions, axis=-1) / depth * truth.focal
    assert miss.max() < TOLERANCES["projection of landmarks"].atol


def test_poses_are_rotations_looking_at_the_head(clip: Clip) -> None:
    truth = clip.subject.truth
    rotations = truth.c2w[:, :3, :3]
    assert_close(np.einsum("tji,tjk->tik", rotations, rotations), np.broadcast_to(np.eye(3), rotations.shape), "geometry")
    assert (np.linalg.det(rotations) > 0).all()
    assert (truth.c2w[:, 1, 3] > 3).all()
    yaw = np.degrees(np.arctan2(truth.transform_matrix[:, 0, 2], truth.transform_matrix[:, 2, 2]))
    assert 8 < np.abs(yaw).max() < 13


def test_face_fills_half_of_the_picture(clip: Clip) -> None:
    points = clip.subject.truth.landmarks_2d
    brow_to_chin = (points[:, 8, 1] - points[:, 17:27, 1].min(1)) / clip.config.size
    assert 0.30 < brow_to_chin.min() < brow_to_chin.max() < 0.50
    assert points.min() > 0
    assert points.max() < clip.config.size


def test_mouth_moves_with_the_voice(clip: Clip) -> None:
    truth = clip.subject.truth
    with av.open(str(clip.subject.video)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    padded = np.pad(sound, (320, 320))
    envelope = np.array([np.sqrt((padded[640 * t : 640 * t + 640] ** 2).mean()) for t in range(truth.frames)])
    assert np.corrcoef(envelope, truth.mouth_opening)[0, 1] > 0.6
    assert truth.mouth_opening.max() > 0.010
    assert truth.mouth_opening.min() < 0.0005


def test_blinks_come_and_go(clip: Clip) -> None:
    truth = clip.subject.truth
    shut = truth.eye_opening.max(1) < 0.25 * np.median(truth.eye_opening)
    beginnings = np.flatnonzero(np.diff(shut.astype(int)) == 1)
    assert len(beginnings) >= 2
    assert (np.diff(beginnings) >= 2 * 25).all()
    assert (np.diff(beginnings) <= 4.5 * 25).all()
    assert truth.eye_ratio[shut].max() < 0.35 * np.median(truth.eye_ratio)


def test_labels_match_what_is_drawn(clip: Clip) -> None:
    truth = clip.subject.truth
    assert truth.labels.shape == (truth.frames, 96, 96)
    frames = np.arange(truth.frames)
    column, row = truth.landmarks_2d[:, 30].astype(int).T
    assert (truth.labels[frames, row, column] == LABELS["head"]).all()
    assert (truth.labels[:, :10, :10] == LABELS["background"]).all()
    assert (truth.labels[:, -4:, 5:15] == LABELS["torso"]).all()
    assert ((truth.labels == LABELS["neck"]).sum((1, 2)) > 50).all()


def test_head_moves_more_than_the_torso(clip: Clip) -> None:
    truth = clip.subject.truth
    head = -truth.transform_matrix[:, :3, 3]
    assert truth.torso[:, 0].std() < 0.6 * head[:, 0].std()


def test_truth_survives_the_disk(clip: Clip) -> None:
    stored = load_truth(clip.folder)
    for name, value in vars(clip.subject.truth).items():
        np.testing.assert_array_equal(getattr(stored, name), value)


def test_equal_settings_give_equal_pictures() -> None:
    config = SubjectConfig(size=64, seconds=1.0, seed=3)
    pictures = []
    for _ in range(2):
        moments = make_moments(synthesise_speech(1.0, 3), move(config), Landmarks().shift)
        pictures.append([Person(config).draw(moments[frame]).rgb for frame in (0, 20)])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0][0] != pictures[0][1]).any()


@pytest.fixture(scope="module")
def plain() -> tuple[Moment, Picture]:
    """The first moment of the default person, and its picture."""
    config = SubjectConfig(size=64, seconds=0.2)
    moment = make_moments(synthesise_speech(0.2, 0), move(config), Landmarks().shift)[0]
    return moment, Person(config).draw(moment)


@pytest.mark.parametrize(
    "change", [{"skin": "brown"}, {"hair": "blond"}, {"eyes": "blue"}, {"jacket": "teal"}, {"glasses": True}]
)
def test_settings_change_the_picture(plain: tuple[Moment, Picture], change: dict) -> None:
    moment, picture = plain
    changed = Person(SubjectConfig(size=64, **change)).draw(moment)
    assert changed.rgb.shape == (64, 64, 3)
    assert (changed.rgb != picture.rgb).any()


def test_odd_sizes_work(plain: tuple[Moment, Picture]) -> None:
    picture = Person(SubjectConfig(size=65)).draw(plain[0])
    assert picture.rgb.shape == (65, 65, 3)
    assert (picture.labels == LABELS["head"]).any()


def test_masks_can_be_left_out(tmp_path: Path) -> None:
    make_subject(tmp_path, SubjectConfig(size=32, seconds=0.4, masks=False))
    assert load_truth(tmp_path).labels.shape == (0, 32, 32)


def test_broken_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match=TRUTH_FILE):
        load_truth(tmp_path)
    (tmp_path / TRUTH_FILE).write_bytes(b"not an archive")
    with pytest.raises(R2TalkerError, match=TRUTH_FILE):
        load_truth(tmp_path)


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    with pytest.raises(R2TalkerError, match=r"subject\.mp4"):
        make_subject(tmp_path / "folder", SubjectConfig(size=32, seconds=0.2))


def test_settings_import_nothing_heavy() -> None:
    code = (
        "import sys, r2talker.subject.config; print([m for m in ('torch', 'cv2', 'scipy', 'av', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
