"""A procedural clip filmed by hand: every picture is shifted, turned and zoomed a little, and the true moves are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.frames import keep_inside
from r2talker.ingest.pictures import read_clip
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.steady import steady_path, steady_picture
from r2talker.ingest.step import Workspace, read_array
from r2talker.ingest.tracking import read_track
from r2talker.media.read import read_video
from r2talker.media.write import VideoWriter
from r2talker.subject.truth import load_truth
from tests.tiny import CLIP_SIZE, SIZE

RIM = 4
INNER = CLIP_SIZE - 2 * RIM
# Pixels of the clip: rms and largest distance of the room from where it should stand (0.1 of 512 pixels measured in a large clip).
STEADY, FARTHEST = 0.15, 0.5
# Degrees rms against the truth, in faces of 50 pixels that were resampled once more.
ROTATION = 2.0


def sway(frames: int) -> np.ndarray:
    """[frames, 2, 3] moves of a hand-held camera, pixels of the clip."""
    time = np.arange(frames) / 25
    angle, zoom = 0.008 * np.sin(3.1 * time), 1 + 0.008 * np.sin(1.9 * time + 1)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    moves = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    centre = np.full(2, CLIP_SIZE / 2)
    shift = np.column_stack([2 * np.sin(2.7 * time), 1.5 * np.sin(3.9 * time + 2)])
    return np.concatenate([moves, (centre + shift - moves @ centre)[..., None]], -1)


@pytest.fixture(scope="module")
def shaken(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("shaken")
    pictures = list(read_video(clip))
    with VideoWriter(folder / "shaken.mp4", width=INNER, height=INNER, fps=25.0) as writer:
        for picture, move in zip(pictures, sway(len(pictures)), strict=True):
            moved = cv2.warpAffine(picture, move, (CLIP_SIZE, CLIP_SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            writer.write(np.ascontiguousarray(moved[RIM:-RIM, RIM:-RIM]))
    workspace = Workspace(folder / "shaken.mp4", DatasetFolder(folder / "dataset"), IngestConfig(size=SIZE))
    run_steps(workspace, last="tracking")
    return workspace


def whole(moves: np.ndarray) -> np.ndarray:
    return np.concatenate([moves, np.tile([[[0.0, 0, 1]]], (len(moves), 1, 1))], 1)


def test_the_room_stands_still_afterwards(shaken: Workspace) -> None:
    found = whole(read_array(steady_path(shaken), "moves"))
    rim = np.array([[1.0, 0, -RIM], [0, 1, -RIM], [0, 0, 1]])
    left = found @ rim @ whole(sway(len(found))) @ np.linalg.inv(rim)
    corners = np.array([[20.0, 20, 1], [INNER - 20, 20, 1], [20, INNER - 20, 1], [INNER - 20, INNER - 20, 1]])
    places = (corners @ left.transpose(0, 2, 1))[..., :2]
    away = np.linalg.norm(places - places.mean(0), axis=-1)
    assert np.sqrt(np.square(away).mean()) < STEADY
    assert away.max() < FARTHEST


def test_how_far_the_camera_moved_is_told(shaken: Workspace) -> None:
    readings = shaken.readings("frames")
    # From the middle of the shaking to its ends, 2 to 4 pixels of the clip.
    assert 4 < readings["steadied_px"] < 20
    left, top, side = readings["crop"]
    assert INNER - 12 < side < INNER
    assert left > 0
    assert top > 0
    for picture in list(read_clip(shaken, (left, top, side), SIZE))[::20]:
        assert picture.shape == (SIZE, SIZE, 3)


def test_the_head_is_tracked_as_if_the_camera_had_stood(shaken: Workspace, clip: Path) -> None:
    truth = Rotation.from_matrix(load_truth(clip.parent).transform_matrix[:, :3, :3])
    apart = Rotation.from_matrix(read_track(shaken).c2w()[:, :3, :3]) * truth.inv()
    error = np.square((apart.mean().inv() * apart).as_rotvec(degrees=True)).sum(1).mean() ** 0.5
    assert error < ROTATION


def test_a_camera_at_rest_is_left_alone(dataset: DatasetFolder, clip: Path) -> None:
    workspace = Workspace(clip, dataset, IngestConfig(size=SIZE))
    assert workspace.readings("frames")["steadied_px"] is None
    assert not steady_path(workspace).exists()
    steady, seen = next(read_clip(workspace, (0, 0, CLIP_SIZE), CLIP_SIZE)), next(read_video(clip))
    assert np.array_equal(steady, seen)


def test_a_moved_picture_shows_everything_where_it_was_moved_to() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:14, 20:24] = 255
    moved = steady_picture(picture, np.array([[1.0, 0, 7], [0, 1, -3]]))
    assert moved.shape == picture.shape
    assert (moved[7:11, 27:31] == 255).all()
    assert moved.sum() == picture.sum()


def test_a_crop_is_moved_and_shrunk_into_what_every_picture_shows() -> None:
    assert keep_inside((0, 0, 100), (5, 8, 200, 108)) == (5, 8, 100)
    assert keep_inside((0, 0, 100), (5, 8, 95, 200)) == (5, 8, 90)
    assert keep_inside((20, 30, 50), (0, 0, 200, 200)) == (20, 30, 50)
