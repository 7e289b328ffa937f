"""Blinks are found where they are and made as the clip makes them."""

import pytest
import torch

from r2talker.drive.blinks import AFTER, BEFORE, USUAL_RATE, Blinker, find_blinks, learn_blinks
from tests.tolerances import assert_close

DIP = torch.tensor([0.9, 0.5, 0.1, 0.4, 0.7, 0.9])
"""A blink, lowest at its third frame."""


def blinking(frames: int, at: list[int]) -> torch.Tensor:
    """An eye of opening 0.3, slowly changing, with blinks lowest at the given frames."""
    eye = 0.3 + 0.02 * torch.sin(torch.arange(frames) / 40)
    for frame in at:
        eye[frame - 2 : frame + 4] *= DIP
    return eye


def lowest_of(opening: torch.Tensor) -> list[int]:
    """Frames below half open that are lower than their neighbours."""
    inner = (opening[1:-1] < 0.5) & (opening[1:-1] < opening[:-2]) & (opening[1:-1] <= opening[2:])
    return (inner.nonzero()[:, 0] + 1).tolist()


def test_blinks_are_found_and_bridged() -> None:
    at = [20, 70, 100, 160]
    track = find_blinks(blinking(200, at))
    assert track.blinks.tolist() == at
    assert_close(track.open, blinking(200, []), "bridged eye")


@pytest.mark.parametrize("frames", [0, 1, 30])
def test_an_eye_without_blinks_stays(frames: int) -> None:
    eye = blinking(frames, [])
    track = find_blinks(eye)
    assert len(track.blinks) == 0
    assert torch.equal(track.open, eye)


def test_an_eye_that_is_always_shut_has_no_blinks() -> None:
    assert len(find_blinks(torch.zeros(50)).blinks) == 0


def test_shapes_are_the_clips() -> None:
    style = learn_blinks(blinking(200, [20, 100]))
    assert style.shapes.shape == (2, BEFORE + AFTER + 1)
    assert_close(style.shapes[:, BEFORE - 2 : BEFORE + 4], DIP.expand(2, -1), "shape of a blink")


def test_pauses_are_drawn_from_the_clip_where_it_has_enough() -> None:
    at = list(range(20, 400, 50))
    style = learn_blinks(blinking(420, at))
    assert style.pauses.tolist() == [50] * 7
    pauses = torch.tensor(lowest_of(Blinker(style, seed=1).advance(5000))).diff()
    assert len(pauses) > 80
    assert pauses.min() >= 40
    assert pauses.max() <= 60


@pytest.mark.parametrize(("blinks", "rate"), [([100], 1 / 20), ([], USUAL_RATE)])
def test_few_blinks_give_a_rate(blinks: list[int], rate: float) -> None:
    style = learn_blinks(blinking(500, blinks))
    assert style.rate == pytest.approx(rate)
    seconds = 4000
    made = len(lowest_of(Blinker(style, seed=2).advance(seconds * 25)))
    # Pauses are at least half a second, and counts of a Poisson process stray by their root.
    expected = seconds / (1 / rate + 0.05)
    assert abs(made - expected) < 5 * expected**0.5


def test_the_same_seed_blinks_alike_however_frames_are_asked_for() -> None:
    style = learn_blinks(blinking(200, [50, 150]))
    whole, blinker = Blinker(style, seed=3).advance(1000), Blinker(style, seed=3)
    assert torch.equal(torch.cat([blinker.advance(n) for n in (1, 0, 399, 600)]), whole)
    assert not torch.equal(Blinker(style, seed=4).advance(1000), whole)
    assert whole.max() == 1
