"""Reading a finished dataset: shapes, frames of reference, colours, and what damaged folders answer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from r2talker.data.dataset import Dataset, read_dataset, read_pictures, stand_ins, torso_over_background
from r2talker.data.folder import DatasetFolder, read_info, write_info
from r2talker.data.sound import read_pcm
from r2talker.errors import R2TalkerError
from r2talker.media.read import read_video
from r2talker.ops.camera_rays.op import SCENE_SCALE
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES
from tests.tolerances import TOLERANCES, assert_close


@pytest.fixture
def copy(dataset: DatasetFolder, tmp_path: Path) -> DatasetFolder:
    """The dataset in a place where it may be damaged."""
    return DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy.dataset"))


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_shapes_and_types(data: Dataset) -> None:
    assert data.info.frames == FRAMES
    for tensor, shape in (
        (data.c2w, (FRAMES, 4, 4)),
        (data.eye, (FRAMES,)),
        (data.displacements, (FRAMES, 68, 3)),
        (data.pixels, (FRAMES, 68, 2)),
        (data.audio["mel"], (FRAMES, 16, data.info.features["mel"].width)),
    ):
        assert tensor.shape == shape
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()


def test_the_splits_follow_each_other(data: Dataset, dataset: DatasetFolder) -> None:
    assert [*data.train, *data.held_out] == list(range(FRAMES))
    assert len(data.train) == TRAIN_FRAMES == FRAMES * 10 // 11
    held_out = np.load(dataset.landmark_offsets("val"))
    assert np.array_equal(data.displacements[data.held_out.start :], held_out)


def test_cameras_are_rotations_that_look_at_the_head(data: Dataset) -> None:
    rotation = data.c2w[:, :3, :3]
    assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(FRAMES, 3, 3), "rotation")
    assert (torch.linalg.det(rotation) > 0).all()
    position, forward = data.c2w[:, :3, 3], data.c2w[:, :3, 2]
    assert ((position * forward).sum(-1) < 0).all()  # the head is at the origin


def test_landmarks_in_space_project_onto_landmarks_in_the_picture(data: Dataset) -> None:
    """Head frame, NGP space, camera and pixels fit together: base + displacement / scale, seen by the camera."""
    errors = []
    for frame in range(0, FRAMES, 10):
        camera = data.camera(frame)
        head = torch.tensor(data.info.landmark_base) + data.displacements[frame] / data.info.landmark_scale
        ngp = head[:, [1, 2, 0]] * SCENE_SCALE
        x, y, z = ((ngp - camera.c2w[:3, 3]) @ camera.c2w[:3, :3]).unbind(-1)
        seen = torch.stack([x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy], dim=-1)
        errors.append((seen - data.pixels[frame]).norm(dim=-1).mean())
    assert_close(torch.stack(errors).mean(), 0, "tracked landmarks")


def test_a_smaller_camera_sees_the_same(data: Dataset) -> None:
    full, half = data.camera(3), data.camera(3, SIZE // 2)
    assert (half.fx, half.cx, half.width) == (full.fx / 2, full.cx / 2, SIZE // 2)
    assert torch.equal(half.c2w, full.c2w)


def test_pictures_of_the_chosen_frames(data: Dataset) -> None:
    pictures = read_pictures(data, [7, 3])
    assert pictures.index == {7: 0, 3: 1}
    assert pictures.size == SIZE
    for tensor, shape, kind in (
        (pictures.truth, (2, SIZE, SIZE, 3), torch.uint8),
        (pictures.torso, (2, SIZE, SIZE, 4), torch.uint8),
        (pictures.head, (2, SIZE, SIZE), torch.bool),
        (pictures.background, (SIZE, SIZE, 3), torch.uint8),
    ):
        assert (tensor.shape, tensor.dtype) == (shape, kind)
    alone = read_pictures(data, [3])
    assert torch.equal(alone.truth[0], pictures.truth[1])
    assert torch.equal(alone.torso[0], pictures.torso[1])
    assert not torch.equal(pictures.truth[0], pictures.truth[1])


def test_colours_are_red_green_blue(data: Dataset, clip: Path) -> None:
    frame = 10
    shown = [picture for _, picture in zip(range(frame + 1), read_video(clip, size=(SIZE, SIZE)), strict=False)][frame]
    pictures = read_pictures(data, [frame])
    head = pictures.head[0].numpy()
    truth = pictures.truth[0].numpy()[head].astype(float)
    assert np.abs(truth - shown[head]).mean() < TOLERANCES["colour after H.264 and JPEG"].atol
    assert np.abs(truth[:, ::-1] - shown[head]).mean() > 5 * TOLERANCES["colour after H.264 and JPEG"].atol
    torso = pictures.torso[0].numpy()
    jacket = torso[torso[..., 3] == 255][:, :3].astype(float).mean(0)
    assert jacket[2] > jacket[0]  # navy


def test_smaller_pictures_are_area_means(data: Dataset) -> None:
    full, half = read_pictures(data, [4]), read_pictures(data, [4], size=SIZE // 2)
    blocks = full.truth[0].double().reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3))
    assert_close(half.truth[0].double(), blocks, "one 8-bit step")
    assert half.head.float().mean() == pytest.approx(float(full.head.float().mean()), rel=0.05)


def test_transparent_pixels_lend_no_colour(copy: DatasetFolder) -> None:
    """A red torso beside transparent green: the shared pixel at half size is half as opaque, and as red as ever."""
    torso = np.zeros((SIZE, SIZE, 4), np.uint8)
    torso[:, :63] = (0, 0, 255, 255)  # BGRA
    torso[:, 63:] = (0, 255, 0, 0)
    cv2.imwrite(str(copy.root / "torso_imgs" / "0.png"), torso)
    row = read_pictures(read_dataset(copy.root), [0], size=SIZE // 2).torso[0, 20]
    assert row[30].tolist() == [255, 0, 0, 255]
    assert row[31].tolist() == [255, 0, 0, 128]
    assert (row[32:, 3] == 0).all()


def test_the_torso_over_the_background() -> None:
    torso = torch.tensor([[10, 20, 30, 0], [10, 20, 30, 255], [200, 100, 0, 51]], dtype=torch.uint8)
    plate = torch.tensor([[255, 0, 51]] * 3, dtype=torch.uint8)
    expected = torch.tensor([[255, 0, 51], [10, 20, 30], [244, 20, 40.8]]) / 255
    assert_close(torso_over_background(torso, plate), expected, "geometry")


def test_the_last_feature_window_repeats_where_the_sound_ends_early(copy: DatasetFolder) -> None:
    path = copy.root / "aud_mel.npy"
    windows = np.load(path)
    np.save(path, windows[:50])
    mel = read_dataset(copy.root).audio["mel"]
    assert np.array_equal(mel[:50], windows[:50])
    assert np.array_equal(mel[50:], windows[[49] * 10])


def test_the_description_survives_a_round_trip(data: Dataset, tmp_path: Path) -> None:
    folder = DatasetFolder(tmp_path)
    write_info(folder, data.info)
    assert read_info(folder) == data.info


class TestExcludedFrames:
    """An excluded frame keeps its place and shows its neighbour of the same split."""

    @pytest.fixture
    def excluding(self, copy: DatasetFolder) -> Dataset:
        edit_json(copy.info, lambda value: value.update(excluded=[0, 10, 11, 12, TRAIN_FRAMES, FRAMES - 1]))
        return read_dataset(copy.root)

    def test_neighbours_stand_in(self, excluding: Dataset, data: Dataset) -> None:
        changed = {k: n for k, n in enumerate(excluding.numbers) if k != n}
        assert changed == {0: 1, 10: 9, 11: 9, 12: 13, TRAIN_FRAMES: TRAIN_FRAMES + 1, FRAMES - 1: FRAMES - 2}
        for frame, other in changed.items():
            for name in ("c2w", "eye", "displacements", "pixels"):
                assert torch.equal(getattr(excluding, name)[frame], getattr(data, name)[other])
            assert torch.equal(excluding.audio["mel"][frame], data.audio["mel"][other])

    def test_their_pictures_are_never_read(self, excluding: Dataset, data: Dataset) -> None:
        for name in ("gt_imgs/11.jpg", "torso_imgs/11.webp", "parsing/11.png"):
            (excluding.folder.root / name).unlink()
        shown = read_pictures(excluding, range(FRAMES))
        assert torch.equal(shown.truth[11], read_pictures(data, [9]).truth[0])

    def test_a_split_of_its_own(self) -> None:
        assert stand_ins(6, 4, {0, 3, 4}) == [0, 0, 3, 3, 4, 4]
        assert stand_ins(6, 4, {2}) == [2] * 6
        with pytest.raises(R2TalkerError, match="every frame"):
            stand_ins(6, 4, set())


Damage = Callable[[DatasetFolder], object]
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    # what happens to the folder; the file that the answer names; what it says
    "unfinished": (lambda folder: folder.info.unlink(), "copy.dataset", "not a finished dataset"),
    "newer version": (
        lambda folder: edit_json(folder.info, lambda v: v.update(version=2)),
        "copy.dataset",
        "version 2.*version 1",
    ),
    "no version": (lambda folder: edit_json(folder.info, lambda v: v.pop("version")), "copy.dataset", "version None"),
    "other format": (lambda folder: edit_json(folder.info, lambda v: v.update(format="x")), "dataset.json", "not describe"),
    "a list": (lambda folder: folder.info.write_text("[]"), "dataset.json", "not describe"),
    "no JSON": (lambda folder: folder.info.write_text("{"), "dataset.json", "not valid JSON"),
    "no focal": (lambda folder: edit_json(folder.info, lambda v: v.pop("focal")), "dataset.json", "incomplete.*focal"),
    "unknown entry": (lambda folder: edit_json(folder.info, lambda v: v.update(x=1)), "dataset.json", "incomplete.*'x'"),
    "no statistics": (lambda folder: edit_json(folder.info, lambda v: v.pop("statistics")), "dataset.json", "incomplete"),
    "no poses": (lambda folder: folder.transforms("val").unlink(), "transforms_val.json", "cannot read"),
    "no frames": (
        lambda folder: edit_json(folder.transforms("train"), lambda v: v.pop("frames")),
        "transforms_train.json",
        "incomplete.*frames",
    ),
    "no eye": (
        lambda folder: edit_json(folder.transforms("train"), lambda v: v["frames"][3].pop("eye_ratio")),
        "transforms_train.json",
        "incomplete.*eye_ratio",
    ),
    "pose of 3 rows": (
        lambda folder: edit_json(folder.transforms("val"), lambda v: v["frames"][0]["transform_matrix"].pop()),
        "transforms_val.json",
        "incomplete",
    ),
    "a pose too few": (
        lambda folder: edit_json(folder.transforms("train"), lambda v: v["frames"].pop()),
        "copy.dataset",
        "inconsistent: 59 poses",
    ),
    "no displacements": (lambda folder: folder.landmark_offsets().unlink(), "aud_idexp.npy", "cannot read"),
    "cut displacements": (
        lambda folder: folder.landmark_offsets().write_bytes(folder.landmark_offsets().read_bytes()[:900]),
        "aud_idexp.npy",
        "damaged",
    ),
    "few displacements": (
        lambda folder: np.save(folder.landmark_offsets(), np.zeros((5, 68, 3), np.float32)),
        "copy.dataset",
        r"inconsistent.*\(5, 68, 3\)",
    ),
    "pickled features": (
        lambda folder: np.save(folder.root / "aud_mel.npy", np.array([{}], object), allow_pickle=True),
        "aud_mel.npy",
        "not a plain .npy array",
    ),
    "no landmarks": (lambda folder: folder.landmarks(5).unlink(), "5.lms", "cannot read"),
    "ragged landmarks": (lambda folder: folder.landmarks(5).write_text("1 2\n3\n"), "5.lms", "cannot read"),
    "few landmarks": (lambda folder: folder.landmarks(5).write_text("1 2\n3 4\n"), "5.lms", r"\[2, 2\].*68 lines"),
    "no picture": (lambda folder: folder.ground_truth(5).unlink(), "5.jpg", "cannot read the picture"),
    "broken picture": (lambda folder: folder.ground_truth(5).write_bytes(b"\xff\xd8"), "5.jpg", "cannot read the picture"),
    "no torso": (lambda folder: folder.torso(5).unlink(), "5.webp", "cannot read the picture"),
    "no parsing": (lambda folder: folder.parsing(5).unlink(), "5.png", "cannot read the picture"),
    "no plate": (lambda folder: folder.background.unlink(), "bc.jpg", "cannot read the picture"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_by_name(copy: DatasetFolder, damage: str) -> None:
    change, file, words = DAMAGES[damage]
    change(copy)
    with pytest.raises(R2TalkerError, match=words) as caught:
        read_pictures(read_dataset(copy.root), [4, 5])
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sound_comes_back(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 16000, np.array([0, 16384, -32768, 32767], np.int16))
    assert read_pcm(tmp_path / "a.wav").tolist() == [0, 0.5, -1, 32767 / 32768]


def test_channels_are_averaged(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 16000, np.array([[0, 16384], [-32768, 0]], np.int16))
    assert read_pcm(tmp_path / "a.wav").tolist() == [0.25, -0.5]


@pytest.mark.parametrize(
    ("rate", "samples"),
    [(8000, np.zeros(9, np.int16)), (16000, np.zeros(9, np.float32)), (16000, None)],
    ids=["8 kHz", "float", "text"],
)
def test_sound_of_another_kind_is_refused(tmp_path: Path, rate: int, samples: np.ndarray | None) -> None:
    path = tmp_path / "aud.wav"
    if samples is None:
        path.write_text("la la la")
    else:
        wavfile.write(path, rate, samples)
    with pytest.raises(R2TalkerError, match=r"aud\.wav.*ingest the clip again"):
        read_pcm(path)


def test_missing_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match=r"cannot read .*aud\.wav"):
        read_pcm(tmp_path / "aud.wav")


def test_moving_a_dataset_moves_its_cameras(data: Dataset) -> None:
    moved = data.with_cameras_on(torch.device("meta"))
    assert moved.camera(0).c2w.device.type == "meta"
    assert moved.eye.device.type == "cpu"
