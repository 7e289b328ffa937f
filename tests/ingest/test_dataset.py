"""The finished dataset of the procedural person, against the format and against its truth."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from scipy.spatial.transform import Rotation

from r2talker.data.folder import DatasetFolder, read_info
from r2talker.ingest.parsing import COLOURS_BGR
from r2talker.subject.truth import SubjectTruth, load_truth
from tests.tiny import SIZE

# Degrees rms against the truth, apart from one constant turn (0.6, 0.4 and 0.14 measured in a clip of 144 pixels).
PITCH, YAW, ROLL = 1.2, 0.9, 0.4
# Part of the distance (0.013 measured), and correlation with the truth over the clip (0.979 and 0.977 measured).
DISTANCE, OPENING, LIP_HEIGHT = 0.03, 0.96, 0.95
# Correlation with the truth in that clip of small eyes, 12 pixels wide.
GAZE_ACROSS, GAZE_UP, LIDS = 0.8, 0.6, 0.85


@pytest.fixture(scope="module")
def truth(clip: Path) -> SubjectTruth:
    return load_truth(clip.parent)


def poses(dataset: DatasetFolder) -> np.ndarray:
    frames = [json.loads(dataset.transforms(split).read_text())["frames"] for split in ("train", "val")]
    return np.array([frame["transform_matrix"] for part in frames for frame in part])


def test_every_file_of_the_format_is_there(dataset: DatasetFolder) -> None:
    info = read_info(dataset)
    assert info.size == SIZE
    assert info.train_frames == int(info.frames * 10 / 11)
    for index in range(info.frames):
        for path in (dataset.frame(index), dataset.parsing(index), dataset.ground_truth(index), dataset.torso(index)):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture.dtype == np.uint8
            assert picture.shape == (SIZE, SIZE, 4 if path == dataset.torso(index) else 3)
        assert np.loadtxt(dataset.landmarks(index)).shape == (68, 2)
    assert not dataset.frame(info.frames).exists()
    assert cv2.imread(str(dataset.background)).shape == (SIZE, SIZE, 3)
    sound = soundfile.info(str(dataset.audio))
    assert (sound.samplerate, sound.channels, sound.frames) == (16000, 1, info.frames * 640)


def test_arrays_have_the_documented_shapes(dataset: DatasetFolder) -> None:
    info = read_info(dataset)
    parts = {split: np.load(dataset.landmark_offsets(split)) for split in ("", "train", "val")}
    assert {part.dtype for part in parts.values()} == {np.dtype(np.float32)}
    assert parts["train"].shape == (info.train_frames, 68, 3)
    assert np.array_equal(np.concatenate([parts["train"], parts["val"]]), parts[""])
    assert np.abs(parts["train"]).max() == pytest.approx(0.95, abs=1e-5)
    assert np.abs(parts[""]).max() <= 1
    assert np.array(info.statistics.landmark_std) == pytest.approx(parts["train"].std(0), abs=1e-5)
    for feature in info.features.values():
        windows = np.load(dataset.root / feature.file)
        assert windows.shape == (info.frames, 16, feature.width)
        assert windows.dtype == np.float32


def test_transforms_say_intrinsics_and_poses(dataset: DatasetFolder) -> None:
    info = read_info(dataset)
    first = json.loads(dataset.transforms("train").read_text())
    second = json.loads(dataset.transforms("val").read_text())
    assert (first["cx"], first["cy"], first["h"], first["w"]) == (SIZE / 2, SIZE / 2, SIZE, SIZE)
    assert first["focal_len"] == info.focal == 1200 / 512 * SIZE
    numbers = [frame["img_id"] for frame in first["frames"] + second["frames"]]
    assert numbers == list(range(info.frames))
    assert all(frame["aud_id"] == frame["img_id"] and frame["eye_ratio"] > 0 for frame in first["frames"])
    rotation = poses(dataset)[:, :3, :3]
    assert np.linalg.det(rotation) == pytest.approx(np.ones(info.frames), abs=1e-6)


def test_poses_follow_the_true_head(dataset: DatasetFolder, truth: SubjectTruth) -> None:
    found = Rotation.from_matrix(poses(dataset)[:, :3, :3])
    apart = found * Rotation.from_matrix(truth.transform_matrix[:, :3, :3]).inv()
    error = np.rad2deg(np.sqrt(np.square((apart.mean().inv() * apart).as_rotvec()).mean(0)))
    assert (error < [PITCH, YAW, ROLL]).all(), error
    distance = np.linalg.norm(poses(dataset)[:, :3, 3], axis=1)
    true = np.linalg.norm(truth.transform_matrix[:, :3, 3], axis=1)
    assert distance.mean() == pytest.approx(true.mean(), rel=DISTANCE)


def test_the_mouth_opens_when_the_true_mouth_does(dataset: DatasetFolder, truth: SubjectTruth) -> None:
    info = read_info(dataset)
    points = np.array(info.landmark_base) + np.load(dataset.landmark_offsets()) / info.landmark_scale
    opening = np.linalg.norm(points[:, 62] - points[:, 66], axis=1)
    assert np.corrcoef(opening, truth.mouth_opening)[0, 1] > OPENING
    height = np.linalg.norm(points[:, 51] - points[:, 57], axis=1)
    true = np.linalg.norm(truth.landmarks[:, 51] - truth.landmarks[:, 57], axis=1)
    assert np.corrcoef(height, true)[0, 1] > LIP_HEIGHT


def test_eyes_look_where_the_true_eyes_look(dataset: DatasetFolder, truth: SubjectTruth) -> None:
    eyes = np.load(dataset.eyes)
    assert eyes.dtype == np.float32
    assert eyes.shape == (len(truth.gaze), 2, 3)
    across, up = eyes[..., :2].mean(1).T
    assert np.corrcoef(across, truth.gaze[:, 0])[0, 1] > GAZE_ACROSS
    assert np.corrcoef(up, truth.gaze[:, 1])[0, 1] > GAZE_UP
    for side in (0, 1):
        assert np.corrcoef(eyes[:, side, 2], truth.eye_opening[:, side])[0, 1] > LIDS
    shut = truth.blink > 0.9
    assert eyes[shut, :, 2].max() < 0.5 * np.median(eyes[..., 2])


def test_regions_agree_with_the_drawing(dataset: DatasetFolder, truth: SubjectTruth) -> None:
    index = 30
    colours = cv2.imread(str(dataset.parsing(index)))
    assert {tuple(colour) for colour in colours.reshape(-1, 3)} <= {tuple(colour) for colour in COLOURS_BGR}
    drawn = cv2.resize(truth.labels[index], (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    for region, least in ((0, 0.93), (1, 0.9), (3, 0.8)):
        found = (colours == COLOURS_BGR[region]).all(-1)
        assert (found & (drawn == region)).sum() / (found | (drawn == region)).sum() > least


def test_ground_truth_is_background_outside_and_picture_inside(dataset: DatasetFolder) -> None:
    index = 20
    truth, frame = cv2.imread(str(dataset.ground_truth(index))), cv2.imread(str(dataset.frame(index)))
    outside = (cv2.imread(str(dataset.parsing(index))) == 255).all(-1)
    deep_out = cv2.erode(outside.astype(np.uint8), np.ones((9, 9))) > 0
    deep_in = cv2.erode((~outside).astype(np.uint8), np.ones((9, 9))) > 0
    plate = cv2.imread(str(dataset.background))
    # Mean of two JPEG codings, qualities 90 and 95 or 75.
    assert np.abs(truth.astype(int) - plate)[deep_out].mean() < 3
    assert np.abs(truth.astype(int) - frame)[deep_in].mean() < 6


def test_the_torso_picture_has_neither_head_nor_background(dataset: DatasetFolder, truth: SubjectTruth) -> None:
    index = 20
    torso = cv2.imread(str(dataset.torso(index)), cv2.IMREAD_UNCHANGED)
    drawn = cv2.resize(truth.labels[index], (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    assert (torso[..., 3][drawn == 3] > 200).mean() > 0.9
    assert (torso[..., 3][: SIZE // 3] == 0).all()
    assert (torso[..., 3][drawn == 0] > 100).mean() < 0.05
