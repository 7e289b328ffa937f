"""The person's border, the room behind, and the camera, on made-up pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.ingest.camera import measure_drift, refuse_moving_camera
from r2talker.ingest.matte import carry, refine_border

SIZE = 128
# Mean error of a border of known alpha, and pixels at 512 of a shift by whole pixels.
ALPHA, DRIFT = 0.1, 0.4


def make_disc(soft: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.clip(0.5 + (40 - np.hypot(rows - 64, columns - 64)) / soft, 0, 1).astype(np.float32)


@pytest.mark.parametrize("known", [True, False])
def test_a_border_follows_the_colours_and_not_the_rough_mask(known: bool) -> None:
    alpha = make_disc(3)
    room = np.tile(np.linspace(150, 220, SIZE)[None, :, None], (SIZE, 1, 3)).astype(np.float32)
    rgb = (alpha[..., None] * np.array([60, 40, 30]) + (1 - alpha[..., None]) * room).round().astype(np.uint8)
    rough = np.roll(cv2.GaussianBlur(alpha, (0, 0), 2), 1, axis=1)
    found = refine_border(rgb, rough, room.astype(np.uint8), np.full((SIZE, SIZE), known))
    border = (alpha > 0.02) & (alpha < 0.98)
    assert np.abs(found - alpha)[border].mean() < ALPHA
    assert np.abs(found - alpha)[border].mean() < 0.5 * np.abs(rough - alpha)[border].mean()
    assert (found[alpha == 1] > 0.9).mean() > 0.99
    assert (found[alpha == 0] < 0.1).mean() > 0.99


def test_colours_that_say_nothing_leave_the_rough_mask() -> None:
    rough = cv2.GaussianBlur(make_disc(1), (0, 0), 1)
    found = refine_border(np.full((SIZE, SIZE, 3), 90, np.uint8), rough, np.full((SIZE, SIZE, 3), 90, np.uint8), rough > 2)
    assert np.abs(found - rough).mean() < 0.02


def test_colours_are_carried_from_near_first() -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:, :64], picture[:, 64:] = 50, 200
    known = np.zeros((SIZE, SIZE), bool)
    known[:, :20], known[:, 108:] = True, True
    carried = carry(picture, known, 2.0, np.array([64, 64]), np.array([22, 105]))
    assert carried[0] == pytest.approx([50] * 3, abs=2)
    assert carried[1] == pytest.approx([200] * 3, abs=2)


def make_looks(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A room full of texture that moves by `shift` pixels a look, before it a person who moves otherwise."""
    rng = np.random.default_rng(1)
    room = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE, SIZE + 40, 3)).astype(np.float32), (0, 0), 1.5)
    room = np.clip(128 + (room - 128) * 5, 0, 255).astype(np.uint8)
    looks = np.stack([room[:, 20 + shift * look : 20 + shift * look + SIZE] for look in range(-2, 3)])
    empty = np.ones(looks.shape[:3], bool)
    for look in range(5):
        rows = slice(60, SIZE)
        looks[look, rows, 30 + 6 * look : 80 + 6 * look], empty[look, rows, 30 + 6 * look : 80 + 6 * look] = 200, False
    return looks, empty


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_drift_is_that_of_the_room(shift: int) -> None:
    drift = measure_drift(*make_looks(shift))
    assert drift == pytest.approx(2 * shift * 512 / SIZE, abs=DRIFT)


def test_a_bare_wall_says_nothing_about_the_camera() -> None:
    empty = np.ones((5, SIZE, SIZE), bool)
    assert measure_drift(np.full((5, SIZE, SIZE, 3), 120, np.uint8), empty) is None
    refuse_moving_camera(None, Path("a.mp4"))


def test_a_moving_camera_is_refused_with_the_figure() -> None:
    refuse_moving_camera(0.7, Path("a.mp4"))
    with pytest.raises(R2TalkerError, match=r"a\.mp4: the background moves by 9\.3 pixels"):
        refuse_moving_camera(9.31, Path("a.mp4"))
