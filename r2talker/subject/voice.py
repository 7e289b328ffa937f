"""A formant synthesiser that babbles syllables and says exactly how its mouth stood at every moment.

Source and filter after Klatt, "Software for a cascade/parallel formant synthesizer" (1980): a glottal pulse with a pitch
contour and aspiration noise pass through a cascade of resonators; friction noise passes through a band of its own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import sosfilt

from r2talker.subject.config import AUDIO_RATE, FPS
from r2talker.subject.phones import CONSONANTS, PHONES, VOWELS, Phone

CONTROL_RATE = 200
BLOCK = AUDIO_RATE // CONTROL_RATE
SOURCE_SMOOTHING, FORMANT_SMOOTHING, LIP_SMOOTHING = 0.010, 0.022, 0.030
Curve = Float[ndarray, " steps"]


@dataclass(frozen=True)
class Articulation:
    """The mouth at 25 fps; frame t is the moment t / 25 s. open 0..1, width -1 (rounded)..1 (spread), press 0..1."""

    open: Float[ndarray, " frames"]
    width: Float[ndarray, " frames"]
    press: Float[ndarray, " frames"]


@dataclass(frozen=True)
class Speech:
    """samples: mono in [-1, 1] at 16 kHz. phones: names of `phones.PHONES`; starts: when each begins, seconds."""

    samples: Float[ndarray, " samples"]
    articulation: Articulation
    phones: tuple[str, ...]
    starts: Float[ndarray, " phones"]


def synthesise_speech(seconds: float, seed: int, *, pitch: float = 120.0) -> Speech:
    """Babble phrases for `seconds`; equal arguments give equal speech. pitch: mean pitch in Hz."""
    rng = np.random.default_rng([seed, 1])
    phones, starts, phrase = _compose(seconds, rng)
    steps = round(seconds * CONTROL_RATE)
    index = np.clip(np.searchsorted(starts, np.arange(steps) / CONTROL_RATE, side="right") - 1, 0, len(phones) - 1)
    track = {
        name: _track([getattr(PHONES[phone], name) for phone in phones], index)
        for name in Phone.__dataclass_fields__
        if name not in ("formants", "seconds")
    }
    mouth = {name: gaussian_filter1d(track[name], LIP_SMOOTHING * CONTROL_RATE) for name in ("open", "width")}
    mouth["press"] = gaussian_filter1d(track["press"], 0.5 * LIP_SMOOTHING * CONTROL_RATE)
    mouth["open"] = np.clip(mouth["open"] * (1 - np.clip(mouth["press"], 0, 1)), 0, 1)
    formants = _formants(phones, index, mouth)
    pitches = _pitch_contour(phrase[index], steps, pitch, rng)
    samples = _sound(track, mouth, formants, pitches, rng)
    moments = np.arange(round(seconds * FPS)) / FPS
    at = {name: np.interp(moments, np.arange(steps) / CONTROL_RATE, curve).astype(np.float32) for name, curve in mouth.items()}
    return Speech(samples=samples, articulation=Articulation(**at), phones=tuple(phones), starts=starts)


def _compose(seconds: float, rng: np.random.Generator) -> tuple[list[str], Float[ndarray, " phones"], Int[ndarray, " phones"]]:
    """Phones, their beginnings, and the number of the phrase each belongs to (0 in pauses)."""
    phones, durations, phrase = ["pause"], [0.15], [0]
    number = 0
    while sum(durations) < seconds:
        number += 1
        until = sum(durations) + rng.uniform(1.3, 2.8)
        while sum(durations) < until:
            syllable = [str(rng.choice(CONSONANTS)), str(rng.choice(VOWELS))]
            if rng.random() < 0.30:
                syllable.append(str(rng.choice(CONSONANTS)))
            stress = 1.25 if rng.random() < 0.35 else 0.95
            for phone in syllable:
                phones.append(phone)
                durations.append(PHONES[phone].seconds * stress * rng.uniform(0.85, 1.2))
                phrase.append(number)
        phones.append("pause")
        durations.append(rng.uniform(0.25, 0.60))
        phrase.append(0)
    starts = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    said = starts < seconds
    count = int(said.sum())
    return phones[:count], starts[:count], np.array(phrase[:count])


def _track(values: list[float], index: Int[ndarray, " steps"]) -> Curve:
    return np.asarray(values, np.float64)[index]


def _formants(phones: list[str], index: Int[ndarray, " steps"], mouth: dict[str, Curve]) -> Float[ndarray, "steps 4"]:
    """Half from the phone, half from what the lips really do, so that coarticulation is heard as well as seen."""
    target = np.array([PHONES[phone].formants for phone in phones])[index]
    target = gaussian_filter1d(target, FORMANT_SMOOTHING * CONTROL_RATE, axis=0)
    from_mouth = np.stack(
        [
            250 + 570 * mouth["open"],
            1450 + 850 * mouth["width"] * (1 - 0.35 * mouth["open"]),
            2500 + 350 * mouth["width"],
        ],
        -1,
    )
    first_three = 0.5 * target + 0.5 * from_mouth
    return np.concatenate([first_three, np.full((len(index), 1), 3600.0)], 1)


def _pitch_contour(phrase: Int[ndarray, " steps"], steps: int, pitch: float, rng: np.random.Generator) -> Curve:
    """Falls through every phrase, with accents and a little jitter."""
    contour = np.ones(steps)
    for number in np.unique(phrase[phrase > 0]):
        where = np.flatnonzero(phrase == number)
        contour[where] = np.linspace(1.16, 0.86, len(where))
    accents = gaussian_filter1d(rng.standard_normal(steps), 0.12 * CONTROL_RATE)
    contour += 0.07 * accents / max(accents.std(), 1e-9)
    contour += 0.010 * rng.standard_normal(steps)
    return pitch * gaussian_filter1d(contour, 3)


def _sound(
    track: dict[str, Curve],
    mouth: dict[str, Curve],
    formants: Float[ndarray, "steps 4"],
    pitch: Curve,
    rng: np.random.Generator,
) -> Float[ndarray, " samples"]:
    smooth = {
        name: gaussian_filter1d(track[name], SOURCE_SMOOTHING * CONTROL_RATE)
        for name in ("voice", "breath", "noise", "noise_centre")
    }
    steps = len(pitch)
    when, controls = np.arange(steps * BLOCK) / BLOCK, np.arange(steps) + 0.5
    # A wider mouth radiates more.
    loud = np.interp(when, controls, smooth["voice"] * (0.35 + 0.65 * mouth["open"]))
    breath = np.interp(when, controls, smooth["breath"])
    friction = np.interp(when, controls, smooth["noise"])
    phase = np.cumsum(np.interp(when, controls, pitch)) / AUDIO_RATE
    source = loud * _glottal_pulse(phase) + breath * rng.standard_normal(len(when))
    bandwidths = np.array([70.0, 95.0, 140.0, 220.0]) + 0.03 * formants
    voiced = _resonate(source, formants, bandwidths)
    centre = smooth["noise_centre"][:, None]
    hiss = _resonate(friction * rng.standard_normal(len(when)), centre, 0.35 * centre)
    samples = voiced / max(np.abs(voiced).max(), 1e-6) + 1.4 * hiss / max(np.abs(hiss).max(), 1e-6) * 0.35
    fade = np.clip(np.minimum(when, when[-1] - when) / 4, 0, 1)
    return (0.7 * fade * samples / max(np.abs(samples).max(), 1e-6)).astype(np.float32)


def _glottal_pulse(phase: Float[ndarray, " samples"]) -> Float[ndarray, " samples"]:
    """Derivative of a Rosenberg pulse (open for six tenths of the period)."""
    t = phase % 1.0
    rising, falling = t < 0.4, (t >= 0.4) & (t < 0.6)
    flow = np.where(rising, 0.5 * (1 - np.cos(np.pi * t / 0.4)), np.where(falling, np.cos(np.pi / 2 * (t - 0.4) / 0.2), 0))
    return np.diff(flow, prepend=0.0)


def _resonate(
    source: Float[ndarray, " samples"], frequency: Float[ndarray, "steps poles"], bandwidth: Float[ndarray, "steps poles"]
) -> Float[ndarray, " samples"]:
    """A cascade of two-pole resonators with unit gain at 0 Hz whose settings change every block of 5 ms."""
    radius = np.exp(-np.pi * bandwidth / AUDIO_RATE)
    first, second = 2 * radius * np.cos(2 * np.pi * frequency / AUDIO_RATE), -(radius**2)
    sections = np.zeros((*frequency.shape, 6))
    sections[..., 0] = 1 - first - second
    sections[..., 3], sections[..., 4], sections[..., 5] = 1, -first, -second
    state = np.zeros((frequency.shape[1], 2))
    blocks = source.reshape(-1, BLOCK)
    heard = np.empty_like(blocks)
    for step, (block, section) in enumerate(zip(blocks, sections, strict=True)):
        heard[step], state = sosfilt(section, block, zi=state)
    return heard.reshape(-1)
