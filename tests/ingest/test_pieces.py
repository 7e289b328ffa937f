"""Parts of ingest on small made-up pictures and numbers."""

from pathlib import Path

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.ingest.eyes import eye_values
from r2talker.ingest.frames import square_around
from r2talker.ingest.landmarks import fill_gaps, refuse_gaps, refuse_jumps
from r2talker.ingest.parsing import BACKGROUND, HEAD, NECK, TORSO
from r2talker.ingest.pictures import map_ordered
from r2talker.ingest.plate import fill_unseen, merge_looks
from r2talker.ingest.torso import make_torso
from r2talker.media.read import VideoInfo


def clip(width: int, height: int) -> VideoInfo:
    return VideoInfo(width, height, 25.0, 4.0, 100, True)


def test_a_framed_square_clip_is_taken_whole() -> None:
    boxes = np.tile([150.0, 150, 200, 200], (10, 1))
    assert square_around(boxes, clip(512, 512)) == (0, 0, 512)


def test_the_crop_holds_the_head_wherever_it_goes_and_stays_inside() -> None:
    across = np.linspace(600, 700, 20)
    boxes = np.column_stack([across, np.full(20, 300), np.full(20, 200), np.full(20, 200)])
    left, top, side = square_around(boxes, clip(1920, 1080))
    assert left < 600 - 50
    assert left + side > 900 + 50
    assert top < 300 - 80
    assert top + side > 500 + 100
    assert side < 700
    left, top, side = square_around(boxes - [600, 300, 0, 0], clip(640, 480))
    assert 0 <= left <= 640 - side
    assert 0 <= top <= 480 - side


def test_short_gaps_are_filled_and_long_ones_refused() -> None:
    mesh = np.zeros((40, 478, 3), np.float32)
    mesh[..., 0] = np.arange(40)[:, None]
    seen = np.ones(40, bool)
    seen[[0, 12, 13, 14, 39]] = False
    broken = np.where(seen[:, None, None], mesh, np.nan).astype(np.float32)
    filled = fill_gaps(broken, seen)
    assert filled[1:39] == pytest.approx(mesh[1:39])
    assert filled[0, 0, 0] == 1
    assert filled[39, 0, 0] == 38
    refuse_gaps(seen, Path("a.mp4"))
    seen[20:31] = False
    with pytest.raises(R2TalkerError, match=r"a\.mp4 shows no face in pictures 20 to 30"):
        refuse_gaps(seen, Path("a.mp4"))


def test_a_cut_is_refused() -> None:
    mesh = np.random.default_rng(0).uniform(0, 100, (1, 478, 3)).repeat(30, 0)
    refuse_jumps(mesh, Path("a.mp4"))
    mesh[17:, :, 0] += 120
    with pytest.raises(R2TalkerError, match="picture 17"):
        refuse_jumps(mesh, Path("a.mp4"))


def test_the_background_forgets_the_person() -> None:
    """A black person walks over a gradient: what was seen is exact, what was not is between its surroundings."""
    truth = np.tile(np.linspace(60, 200, 96, dtype=np.uint8)[None, :, None], (96, 1, 3))
    pictures, distances = [], []
    for shift in (0, 8, 16):
        picture, distance = truth.copy(), np.zeros((96, 96), np.uint8)
        columns = np.arange(96)
        away = np.maximum(np.maximum(30 + shift - columns, columns - 60 - shift), 0)
        picture[:, 30 + shift : 61 + shift] = 0
        distance[:] = np.minimum(away * 4, 255)
        pictures.append(picture)
        distances.append(distance)
    plate, seen = merge_looks(np.stack(pictures), np.stack(distances))
    assert np.array_equal(plate[seen], truth[seen])
    assert not seen[:, 50].any()
    assert seen[:, 35].all()
    filled = fill_unseen(plate, seen)
    assert np.array_equal(filled[seen], truth[seen])
    assert np.abs(filled.astype(int) - truth).max() < 40


def labels(size: int = 128) -> np.ndarray:
    label = np.full((size, size), BACKGROUND, np.uint8)
    label[20:70, 40:90] = HEAD
    label[70:85, 50:80] = NECK
    label[85:, 20:110] = TORSO
    return label


def test_the_neck_goes_on_under_the_head_without_chin_colours() -> None:
    label = labels()
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[label == HEAD] = (255, 255, 0)
    picture[label == NECK] = (200, 100, 50)
    picture[label == TORSO] = (0, 0, 120)
    torso = make_torso(picture, label, (label != BACKGROUND).astype(np.float32))
    assert torso.shape == (128, 128, 4)
    column = torso[:, 65]
    painted = np.flatnonzero(column[:70, 3])
    assert painted[0] == 70 - 12, "53 rows of 512 are 13 of 128, the first of them the neck's own"
    assert (column[painted, 3] == 255).all()
    assert (np.diff(column[painted, 0].astype(int)) >= 0).all(), "darker upwards"
    assert (torso[..., 0].astype(int) >= torso[..., 1]).all(), "no yellow of the head"
    assert (torso[torso[..., 3] == 0] == 0).all()
    assert np.array_equal(torso[90, 65], [0, 0, 120, 255])


@pytest.mark.parametrize("missing", [NECK, TORSO, HEAD])
def test_pictures_without_a_part_are_borne(missing: int) -> None:
    label = labels()
    label[label == missing] = BACKGROUND
    torso = make_torso(np.full((128, 128, 3), 90, np.uint8), label, (label != BACKGROUND).astype(np.float32))
    assert (torso[..., 3] > 0).sum() >= ((label == NECK) | (label == TORSO)).sum()


def test_a_head_at_the_upper_rim_does_not_wrap_round() -> None:
    label = np.full((64, 64), TORSO, np.uint8)
    label[:3] = HEAD
    label[3:6, 20:40] = NECK
    torso = make_torso(np.full((64, 64, 3), 90, np.uint8), label, np.ones((64, 64), np.float32))
    assert torso[-1, :, :3].min() == 90


def test_eye_value_is_the_area_of_both_eyes_in_percent() -> None:
    points = np.zeros((1, 68, 2))
    hexagon = np.array([(0, 1), (1, 0), (2, 0), (3, 1), (2, 2), (1, 2)])
    points[0, 36:42], points[0, 42:48] = hexagon, hexagon + 10
    assert eye_values(points, 100)[0] == pytest.approx(100 * 8 / 100**2)


def test_map_ordered_keeps_the_order_and_passes_errors_on() -> None:
    assert list(map_ordered(lambda k: k * k, range(100))) == [k * k for k in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(map_ordered(lambda k: 1 // (k - 5), range(10)))
