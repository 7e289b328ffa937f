"""The readings by name: what they are called for people, their unit, and which way is better (docs/evaluate.md defines them)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reading:
    """One reading. aim: whether more or less is better, or how near to one or to zero."""

    key: str
    title: str
    unit: str
    aim: Literal["more", "less", "one", "zero"]
    digits: int = 2

    def off(self, value: float) -> float:
        """How far from what is wanted, to compare films by; the least is the best."""
        return {"more": -value, "less": value, "one": abs(value - 1), "zero": abs(value)}[self.aim]

    def format(self, value: float) -> str:
        """The figure alone."""
        return f"{value:+.{self.digits}f}" if self.aim == "zero" else f"{value:.{self.digits}f}"


READINGS = (
    Reading("psnr_picture", "PSNR, whole picture", "dB", "more"),
    Reading("psnr_face", "PSNR, face box", "dB", "more"),
    Reading("psnr_mouth", "PSNR, mouth box", "dB", "more"),
    Reading("ssim_picture", "SSIM, whole picture", "", "more", 4),
    Reading("ssim_face", "SSIM, face box", "", "more", 4),
    Reading("ssim_mouth", "SSIM, mouth box", "", "more", 4),
    Reading("lpips_picture", "LPIPS (AlexNet), whole picture", "", "less", 4),
    Reading("lpips_face", "LPIPS (AlexNet), face box", "", "less", 4),
    Reading("sharpness_face", "sharpness, face box", "of the truth's", "one"),
    Reading("sharpness_mouth", "sharpness, mouth box", "of the truth's", "one"),
    Reading("lmd", "LMD, mouth", "px at 512", "less"),
    Reading("lmd_face", "LMD, all 68 points", "px at 512", "less"),
    Reading("mouth_range", "range of the mouth's opening", "of the truth's", "one"),
    Reading("eye_range", "range of the eyes' opening", "of the truth's", "one"),
    Reading("mouth_correlation", "mouth's opening, correlation", "", "more"),
    Reading("lip_lag", "lips late against the truth's", "ms", "zero", 0),
    Reading("sound_lag", "sound late against the lips", "ms", "zero", 0),
    Reading("flicker", "flicker where the truth is still", "8-bit steps", "less"),
    Reading("flicker_ratio", "that flicker", "of the truth's", "less"),
    Reading("neck_error", "error at the neck's seam", "8-bit steps", "less"),
)
"""Of a whole film, in the order of the report."""

COLUMNS = (
    *(reading.key for reading in READINGS[:12]), "mouth_opening", "mouth_opening_true", "eye_opening", "eye_opening_true",
    "flicker", "flicker_true", "neck_error",
)  # fmt: skip
"""Of every frame, in the order of the table."""


def reading(key: str) -> Reading:
    """The reading of a key."""
    return next(each for each in READINGS if each.key == key)
