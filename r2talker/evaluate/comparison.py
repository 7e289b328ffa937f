"""What came of comparing films with the truth, in the words, rows and values that people and programs read."""

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2talker.evaluate.readings import COLUMNS, READINGS
from r2talker.evaluate.scores import FilmScores, TrueLook
from r2talker.evaluate.truth import FPS, Truth


@dataclass(frozen=True)
class Comparison:
    """title: for people. absent: what could not be read and why, a line each. generator: error of the mouth's points (px at 512) and
    correlation of the opening that an avatar's landmark generator reaches on the held-out sound, None where there is none."""

    title: str
    truth: Truth
    look: TrueLook
    films: list[FilmScores]
    absent: list[str]
    generator: tuple[float, float] | None = None

    @property
    def sound_lag(self) -> float | None:
        """Milliseconds by which the truth's own sound comes late against its lips."""
        return None if self.look.sound is None else self.look.sound.late * 1000 / FPS

    def summary(self) -> str:
        """The readings that matter most, as lines for a person, and what is absent."""
        lines = [line for film in self.films for line in _lines(film)]
        if self.generator is not None:
            lines.append(self.describe_generator())
        return "\n".join(lines + [f"absent: {line}" for line in self.absent])

    def describe_generator(self) -> str:
        """What the landmark generator reaches, in a sentence."""
        assert self.generator is not None
        error, together = self.generator
        return f"landmarks generated from the sound: mouth {error:.2f} px at 512 off, opening correlates {together:.2f}"


def describe(comparison: Comparison) -> dict[str, Any]:
    """What readings.json holds: JSON knows no NaN, so what was not measured is null."""
    truth, lag = comparison.truth, comparison.sound_lag
    generated = None
    if comparison.generator is not None:
        generated = dict(zip(("mouth_error", "opening_correlation"), comparison.generator, strict=True))
    return {
        "title": comparison.title,
        "truth": {
            "name": truth.name,
            "width": truth.width,
            "height": truth.height,
            "first_frame": truth.numbers.start,
            "frames": len(truth.numbers),
            "left_out": sorted(truth.left_out),
            "sound_lag": None if lag is None else round(lag, 1),
        },
        "units": {reading.key: reading.unit for reading in READINGS},
        "films": [
            {
                "name": film.name,
                "kind": film.kind,
                "frames": film.frames,
                "readings": {key: round(value, 5) if np.isfinite(value) else None for key, value in film.whole.items()},
            }
            for film in comparison.films
        ],
        "generator": generated,
        "absent": comparison.absent,
    }


def tabulate(comparison: Comparison) -> str:
    """What frames.csv holds: a row per film and scored frame; an empty cell was not measured."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["film", "kind", "frame", "seconds", *COLUMNS])
    first = comparison.truth.numbers.start
    for film in comparison.films:
        for frame in film.pictures:
            values = [film.columns[key][frame - first] for key in COLUMNS]
            cells = [f"{value:.5g}" if np.isfinite(value) else "" for value in values]
            table.writerow([film.name, film.kind, frame, f"{frame / FPS:.2f}", *cells])
    return text.getvalue()


def _lines(film: FilmScores) -> list[str]:
    """The first line is about pictures, the second about what a face detector sees."""
    whole = film.whole
    boxes = (("picture", "whole picture"), ("face", "face box"), ("mouth", "mouth box"))
    known = [f"{whole[f'psnr_{name}']:.2f} dB ({text})" for name, text in boxes if np.isfinite(whole[f"psnr_{name}"])]
    others = (
        ("lmd", "LMD", " px at 512"),
        ("mouth_range", "mouth opens", " of the truth's range"),
        ("eye_range", "eyes", " of the truth's range"),
        ("mouth_correlation", "opening correlates", ""),
        ("flicker_ratio", "flicker", " of the truth's"),
    )
    seen = [f"{text} {whole[key]:.2f}{unit}" for key, text, unit in others if np.isfinite(whole[key])]
    first = f"{film.label}, {film.frames} frames: PSNR {', '.join(known)}, SSIM {whole['ssim_picture']:.4f}"
    return [first, f"  {', '.join(seen)}"] if seen else [first]
