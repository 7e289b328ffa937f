"""Where an imported avatar's camera, poses, background and motion come from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.cli.describe import describe_avatar
from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.ops.camera_rays.op import head_from_c2w
from r2talker.upstream.importing import import_checkpoint
from r2talker.upstream.scene import SceneFiles, read_scene
from tests.layouts import ad_nerf, r2_talker
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES
from tests.tolerances import assert_close
from tests.upstream.files import save, state_dict

R2TALKER, GENEFACE, RADNERF = (methods.get(name) for name in ("r2talker", "geneface", "radnerf"))


@pytest.fixture(scope="module")
def theirs(dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder as R2-Talker's tools leave it. Read only."""
    return r2_talker(dataset, tmp_path_factory.mktemp("theirs"))


def test_of_a_dataset(theirs: Path, data: Dataset) -> None:
    scene = read_scene(SceneFiles(dataset=theirs), GENEFACE, 0)
    assert (scene.size, len(scene.track.c2w)) == (SIZE, TRAIN_FRAMES)
    assert_close(scene.track.c2w, data.c2w[:TRAIN_FRAMES], "exact")
    plate = cv2.imread(str(theirs / "bc.jpg"))[..., ::-1]
    assert np.array_equal(scene.background, plate)
    # Over all frames, the held-out ones too, as the reference trains.
    offsets = np.concatenate([np.load(theirs / f"aud_idexp_{split}.npy") for split in ("train", "val")]).astype(float)
    assert_close(np.array(scene.statistics.landmark_mean), offsets.mean(0), "normalised")
    assert_close(np.array(scene.statistics.landmark_std), offsets.std(0), "normalised")
    assert_close(scene.track.displacements, offsets[:TRAIN_FRAMES].astype(np.float32), "exact")


def test_one_file_of_all_landmarks_goes_first(theirs: Path, tmp_path: Path) -> None:
    shutil.copytree(theirs, tmp_path / "copy")
    np.save(tmp_path / "copy" / "aud_idexp.npy", np.full((FRAMES, 68, 3), 0.25, np.float32))
    statistics = read_scene(SceneFiles(dataset=tmp_path / "copy"), GENEFACE, 0).statistics
    assert_close(np.array(statistics.landmark_mean), np.full((68, 3), 0.25), "exact")


def test_of_our_own_dataset(dataset: DatasetFolder, data: Dataset) -> None:
    scene = read_scene(SceneFiles(dataset=dataset.root), R2TALKER, 0)
    assert_close(scene.track.displacements, data.displacements[:TRAIN_FRAMES], "exact")
    assert scene.landmark_scale == data.info.landmark_scale


def test_audio_features_are_found_by_their_columns(theirs: Path, dataset: DatasetFolder) -> None:
    features = read_scene(SceneFiles(dataset=theirs), RADNERF, 44).track.features
    assert features is not None
    assert features.shape == (TRAIN_FRAMES, 16, 44)
    assert read_scene(SceneFiles(dataset=theirs), GENEFACE, 0).track.features is None
    with pytest.raises(R2TalkerError, match=r"no audio features of 29 columns.*eo \(44\)"):
        read_scene(SceneFiles(dataset=theirs), RADNERF, 29)


def test_landmarks_that_pictures_show_are_not_those_of_the_training(
    dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = ad_nerf(dataset, tmp_path_factory.mktemp("bare"))
    with pytest.raises(R2TalkerError, match=r"no landmark displacements.*which this model was trained on"):
        read_scene(SceneFiles(dataset=bare), R2TALKER, 0)
    assert read_scene(SceneFiles(dataset=bare), RADNERF, 29).track.features is not None


def pose_file(root: Path, eyes: tuple[float, ...] = (), **changes: object) -> Path:
    c2w = torch.eye(4).repeat(3, 1, 1)
    c2w[:, :3, 3] = torch.tensor([[0.0, 3, 0], [0, 3, 0.1], [0, 3, 0.2]])
    frames = [{"img_id": k, "transform_matrix": m} for k, m in enumerate(head_from_c2w(c2w).tolist())]
    for frame, eye in zip(frames, eyes, strict=False):
        frame["eye_ratio"] = eye
    content = {"focal_len": 150.0, "cx": 32.0, "cy": 32.0, "frames": frames} | changes
    (root / "transforms_val.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return root / "transforms_val.json"


def test_of_single_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "bc.png"), np.full((128, 128, 3), (10, 20, 30), np.uint8))
    np.save(tmp_path / "lm.npy", np.arange(2 * 204, dtype=np.float64).reshape(1, 2, 204) / 1000)
    files = SceneFiles(
        poses=pose_file(tmp_path, (0.5, 0.25, 0.125)), background=tmp_path / "bc.png", landmarks=tmp_path / "lm.npy"
    )
    scene = read_scene(files, GENEFACE, 0)
    assert (scene.size, scene.focal, scene.source) == (64, 150.0, "transforms_val.json")
    assert scene.track.c2w[:, 2, 3].tolist() == pytest.approx([0, 0.1, 0.2])
    assert scene.track.eye.tolist() == [0.5, 0.25, 0.125]
    assert (scene.background == (30, 20, 10)).all()
    assert scene.background.shape == (64, 64, 3)
    assert_close(scene.track.displacements[2], scene.track.displacements[1], "exact")
    assert_close(np.array(scene.statistics.landmark_std), np.full((68, 3), 0.102), "normalised")


def test_what_may_be_left_out(tmp_path: Path) -> None:
    scene = read_scene(SceneFiles(poses=pose_file(tmp_path)), R2TALKER, 0)
    assert (scene.background == 255).all()
    assert scene.track.displacements.count_nonzero() == 0
    assert scene.track.eye.tolist() == [0.25] * 3
    with pytest.raises(R2TalkerError, match=r"GeneFace.* normalises landmarks.*--landmarks aud_idexp.npy"):
        read_scene(SceneFiles(poses=tmp_path / "transforms_val.json"), GENEFACE, 0)


@pytest.mark.parametrize(
    ("changes", "size", "focal"),
    [
        ({"focal_len": None, "fl_x": 80.0}, 64, 80.0),
        ({"focal_len": None, "camera_angle_x": np.pi / 2}, 64, 32.0),
        ({"cx": 100.4, "cy": 100.4, "w": 201, "h": 201}, 201, 150.0),
        ({"cx": 100.5, "cy": 100.5}, 200, 150.0),
    ],
)
def test_the_names_of_the_camera(tmp_path: Path, changes: dict[str, object], size: int, focal: float) -> None:
    scene = read_scene(SceneFiles(poses=pose_file(tmp_path, **changes)), R2TALKER, 0)
    assert (scene.size, scene.focal) == (size, pytest.approx(focal))


REFUSED: dict[str, tuple[Callable[[Path], SceneFiles], str]] = {
    "nothing": (lambda root: SceneFiles(), "give --dataset DIR, or --pose"),
    "both": (lambda root: SceneFiles(dataset=root, poses=root), "give --dataset DIR, or --pose"),
    "a background too many": (lambda root: SceneFiles(dataset=root, background=root), "brings its own background"),
    "no focal length": (lambda root: SceneFiles(poses=pose_file(root, focal_len=None)), "does not say the camera .'fl_x'"),
    "no centre": (lambda root: SceneFiles(poses=pose_file(root, cx=None)), "does not say the camera .'cx'"),
    "a wide picture": (lambda root: SceneFiles(poses=pose_file(root, cx=64.0)), "128 x 64.*needs square ones"),
    "an axis aside": (lambda root: SceneFiles(poses=pose_file(root, w=64, h=64, cx=20.0)), "about 20, 32"),
    "no poses": (lambda root: SceneFiles(poses=pose_file(root, frames=[])), "holds no finite poses"),
    "no picture": (lambda root: SceneFiles(poses=pose_file(root), background=root / "bc.jpg"), "no readable picture"),
    "no landmarks": (lambda root: SceneFiles(poses=pose_file(root), landmarks=odd_landmarks(root)), r"\[3, 67, 3\]; expected"),
    "no dataset": (lambda root: SceneFiles(dataset=root / "none"), "not a finished dataset"),
}


def odd_landmarks(root: Path) -> Path:
    np.save(root / "odd.npy", np.zeros((3, 67, 3)))
    return root / "odd.npy"


@pytest.mark.parametrize("case", REFUSED)
def test_scenes_that_do_not_do(case: str, tmp_path: Path) -> None:
    make, words = REFUSED[case]
    with pytest.raises(R2TalkerError, match=words) as caught:
        read_scene(make(tmp_path), R2TALKER, 0)
    assert "\n" not in str(caught.value)


def test_an_imported_avatar_replays_its_dataset(theirs: Path, tmp_path: Path) -> None:
    """Landmarks or features of the clip move it where nothing else is given; sound cannot."""
    for method, kind in (("r2talker", "landmarks"), ("rad-nerf", "eo features from files")):
        checkpoint = save(state_dict(method, torso=False), tmp_path / f"{method}.pth")
        import_checkpoint(checkpoint, tmp_path / method, SceneFiles(dataset=theirs))
        avatar = Avatar.load(tmp_path / method, device="cpu")
        plan = avatar.plan()
        track = avatar.track
        shown = track.displacements if method == "r2talker" else track.features
        assert_close(plan.windows[10:-10, avatar.model.method.drive.window // 2], shown[10:-10], "exact")
        assert (plan.windows[0, 0] == 0).all()
        assert avatar.info.feature == ("" if kind == "landmarks" else "eo")
        assert f"driven by {kind}; torso not included" in describe_avatar(tmp_path / method, avatar.info)
        with pytest.raises(R2TalkerError, match=r"no landmark generator|cannot compute; pass features"):
            avatar.plan(audio=np.zeros(16000, np.float32))
        picture = next(iter(avatar.render(size=16)))
        assert picture.shape == (16, 16, 3)
