"""Rays that look at the eyes of a second frame, so that they close where steps are few and small.

A blink lasts four frames in a hundred and eyes take a twentieth of a frame's rays: of a short training on a CPU some thousand rays see a
closed eye, and eyes stay open. So a quarter of the rays of every second frame goes to another one that is chosen by how far its eyes are
open, driven by its own landmarks and eye value. Most of them look at its eyes, the others see to it that nothing else changes with them.
Nothing is recombined (`recombine.py`), which takes more steps than there are.
"""

from r2talker.train.config import SamplingConfig
from r2talker.train.recombine import frame_for_eyes

PERIOD = 2
"""One frame in so many, counted over the frames of all steps, shares its rays with another's eyes."""
SHARE = 1 / 4
"""Of its rays."""
SAMPLING = SamplingConfig(anywhere=0.0, lips=0.0, eyes=0.85)
"""Where these rays go."""
CLOSED = 8
"""Turns of frames whose eyes are closed, for one of every other opening."""


def lid_rays(turn: int, rays: int) -> int:
    """How many of the rays of a turn look at another frame's eyes."""
    return int(SHARE * rays) if turn % PERIOD == 0 else 0


def frame_of_lids(classes: list[list[int]], seed: int, turn: int) -> int:
    """Whose eyes these rays look at. classes: frames by opening, the narrowest first (`classes_of_openings`)."""
    return frame_for_eyes([*classes, *[classes[0]] * (CLOSED - 1)], seed, turn // PERIOD)
