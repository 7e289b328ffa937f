"""What is wrong with a clip: each finding with its picture numbers and what to do about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import median_filter

from r2talker.ingest.report.signals import Signals
from r2talker.ingest.step import FPS

WORST_SHARE = 0.1
"""`--exclude worst` takes at most this part of the clip."""

SHORT_SECONDS = 20.0
BLINK_SHARE = 0.5
"""Eyes below this part of their usual opening are shut."""

_BLURRED = 0.6
_BLINK_SECONDS = 8.0
# Millimetres: the lips of a shut mouth are seen 2 to 4 apart by the mesh.
_MOUTH_SHUT = 6.0
# A cut changes the picture, or moves the face, this many times as much as its surroundings do, and by at least so much.
_CUT_TIMES, _CUT_CHANGE, _CUT_JUMP = 6.0, 10.0, 0.12
_AROUND = 25
_RESIDUAL_TIMES, _RESIDUAL_PIXELS = 3.0, 3.0


@dataclass(frozen=True)
class Finding:
    """kind: a short name. what: one sentence. advice: what to do. frames: the pictures it is about, none if it is the whole clip.

    badness: one value per picture, from 1 (just over the limit) upwards; empty where leaving pictures out would not help.
    """

    kind: str
    what: str
    advice: str
    frames: list[int] = field(default_factory=list)
    badness: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Clip:
    """What is judged: the signals, and what the steps said. lag: pictures by which the sound is late, 0 where it was shifted."""

    signals: Signals
    has_sound: bool
    lag: int

    @property
    def seconds(self) -> float:
        """Length at 25 pictures per second."""
        return len(self.signals.seen) / FPS


def find_faults(clip: Clip) -> list[Finding]:
    """Everything that is worth a warning, the gravest kinds first."""
    found = [check(clip) for check in _CHECKS]
    return [finding for finding in found if finding is not None]


def worst_frames(findings: Sequence[Finding], frames: int) -> list[int]:
    """The pictures that the findings blame most, at most a tenth of `frames`, in order of time."""
    badness: dict[int, float] = {}
    for finding in findings:
        for frame, value in zip(finding.frames, finding.badness, strict=False):
            badness[frame] = max(value, badness.get(frame, 0.0))
    worst = sorted(badness, key=lambda frame: (-badness[frame], frame))
    return sorted(worst[: int(frames * WORST_SHARE)])


def find_blinks(eye: Float[np.ndarray, " frames"]) -> list[int]:
    """The picture of every blink in which the eyes are most closed."""
    shut = eye < BLINK_SHARE * np.median(eye)
    return [first + int(eye[first:end].argmin()) for first, end in runs(shut)]


def runs(flags: Bool[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """First and one past the last of every stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _of(kind: str, what: str, advice: str, values: Float[np.ndarray, " frames"]) -> Finding | None:
    """A finding about the pictures whose value exceeds 1."""
    frames = np.flatnonzero(values > 1)
    if not len(frames):
        return None
    count = f"{len(frames)} picture{'s' if len(frames) > 1 else ''}"
    badness = [round(float(value), 2) for value in values[frames]]
    return Finding(kind, what.format(count=count), advice, frames.tolist(), badness)


def _unseen(clip: Clip) -> Finding | None:
    return _of(
        "face not found",
        "The face was not found in {count}; its points there are interpolated.",
        "Exclude these pictures, or film again without covering or turning away the face.",
        np.where(clip.signals.seen, 0.0, 3.0),
    )


def _leaves(clip: Clip) -> Finding | None:
    return _of(
        "face leaves the picture",
        "Part of the face lies outside the picture in {count}.",
        "Exclude these pictures, or film from further away so that head and shoulders stay inside.",
        np.where(clip.signals.margin < 0, 2.0 - 10 * clip.signals.margin, 0.0),
    )


def _cuts(clip: Clip) -> Finding | None:
    signals, values = clip.signals, np.zeros(len(clip.signals.seen))
    for curve, least in ((signals.change, _CUT_CHANGE), (signals.jump, _CUT_JUMP)):
        values = np.maximum(values, curve / np.maximum(_CUT_TIMES * median_filter(curve, _AROUND, mode="nearest"), least))
    return _of(
        "cut",
        "The clip jumps at {count}: a cut, or another take.",
        "Cut the clip there and keep the longest take; poses and sound need one take without a jump.",
        values,
    )


def _strangers(clip: Clip) -> Finding | None:
    return _of(
        "second face",
        "A second face is in {count}.",
        "Exclude these pictures, or crop the video so that only the one person is seen (pictures on a wall count too).",
        np.where(clip.signals.strangers, 1.2, 0.0),
    )


def _hands(clip: Clip) -> Finding | None:
    return _of(
        "hand",
        "A hand is in {count}.",
        "Exclude these pictures: an avatar has no hands and would smear them over face, neck or torso.",
        np.where(clip.signals.hands, 1.5, 0.0),
    )


def _blurred(clip: Clip) -> Finding | None:
    return _of(
        "blurred",
        "The face is blurred in {count}.",
        "Exclude these pictures; more light, a shorter exposure and a fixed focus avoid it.",
        _BLURRED / np.maximum(clip.signals.sharpness, 0.05),
    )


def _unsure(clip: Clip) -> Finding | None:
    residual = clip.signals.residual
    limit = max(_RESIDUAL_TIMES * float(np.median(residual)), _RESIDUAL_PIXELS)
    return _of(
        "unsure pose",
        f"The head's pose is unsure in {{count}}: the face's points lie more than {limit:.1f} px (of 512) from where it puts them.",
        "Look at these pictures in the report and exclude them when the mesh does not lie on the face.",
        residual / limit,
    )


def _short(clip: Clip) -> Finding | None:
    if clip.seconds >= SHORT_SECONDS:
        return None
    return Finding(
        "too short",
        f"The clip lasts {clip.seconds:.1f} s.",
        f"Film at least {SHORT_SECONDS:.0f} s, better two minutes: an avatar knows only the mouths and poses that it was shown.",
    )


def _no_blinks(clip: Clip) -> Finding | None:
    if clip.seconds < _BLINK_SECONDS or find_blinks(clip.signals.eye):
        return None
    return Finding(
        "no blinks",
        "The person never blinks.",
        "The avatar cannot learn to close its eyes; film again and let the person blink as usual.",
    )


def _mouth_open(clip: Clip) -> Finding | None:
    mouth = clip.signals.mouth
    least = float(np.percentile(mouth, 2))
    if least <= _MOUTH_SHUT:
        return None
    return Finding(
        "mouth never closes",
        f"The mouth is never seen shut: the lips stay at least {least:.0f} mm apart.",
        "The avatar cannot learn m, b, p and pauses; film a few seconds of silence with the mouth shut along with the speech.",
        [int(mouth.argmin())],
    )


def _silent(clip: Clip) -> Finding | None:
    if clip.has_sound:
        return None
    return Finding(
        "no sound",
        "The clip has no sound, or silence.",
        "The avatar can replay its clip but cannot learn to speak; give a clip with its own sound.",
    )


def _out_of_step(clip: Clip) -> Finding | None:
    if clip.lag == 0:
        return None
    side = "late" if clip.lag > 0 else "early"
    count = f"{abs(clip.lag)} picture{'s' if abs(clip.lag) > 1 else ''}"
    return Finding(
        "sound out of step",
        f"The sound comes {abs(clip.lag) / FPS * 1000:.0f} ms ({count}) {side}.",
        "Run the same command with --fix-sync, which shifts the sound.",
    )


_CHECKS: tuple[Callable[[Clip], Finding | None], ...] = (
    _cuts,
    _leaves,
    _unseen,
    _strangers,
    _hands,
    _blurred,
    _unsure,
    _silent,
    _out_of_step,
    _mouth_open,
    _no_blinks,
    _short,
)
