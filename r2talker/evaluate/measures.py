"""Readings of one picture against the truth, and of three in a row; pictures are 8-bit RGB of one size."""

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from r2talker.data.regions import Region
from r2talker.evaluate.areas import REFERENCE, cut

MOST_DECIBEL = 100.0
"""PSNR of equal pictures, so that means stay finite."""

STILL = 4.0
"""8-bit steps by which a still pixel of the truth may change from picture to picture, after a blur of 2 px at 512."""

_SSIM_SIGMA, _SSIM_REACH = 1.5, 5
_SSIM_C1, _SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BLUR = 2.0

Picture = UInt8[np.ndarray, "height width 3"]
Luma = Float32[np.ndarray, "height width"]


@dataclass(frozen=True)
class Maps:
    """Squared error (mean of the channels, 8-bit steps squared), SSIM, and brightness of both pictures, per pixel."""

    error: Luma
    ssim: Luma
    made: Luma
    true: Luma


def make_maps(picture: Picture, truth: Picture) -> Maps:
    """What all boxes of a picture are read from."""
    made, true = picture.astype(np.float32), truth.astype(np.float32)
    error = np.square(made - true).mean(-1)
    return Maps(error, ssim_map(made, true), brightness(picture), brightness(truth))


def brightness(picture: Picture) -> Luma:
    """ITU-R BT.601 luma, 0 to 255."""
    return picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def psnr_in(maps: Maps, region: Region) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of a box (upstream.md 9), at most MOST_DECIBEL."""
    error = float(cut(maps.error, region).mean(dtype=np.float64)) / 255**2
    return MOST_DECIBEL if error == 0 else min(MOST_DECIBEL, -10 * math.log10(error))


def ssim_map(made: Float32[np.ndarray, "height width 3"], true: Float32[np.ndarray, "height width 3"]) -> Luma:
    """Structural similarity (Wang et al. 2004) at every pixel, mean of the three channels, colours in [0, 255].

    Gaussian window of 11 x 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, weighted (biased) variances.
    """

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (2 * _SSIM_REACH + 1,) * 2, _SSIM_SIGMA)

    a, b = mean(made), mean(true)
    variances = mean(made * made) - a * a + mean(true * true) - b * b
    covariance = mean(made * true) - a * b
    similarity = (2 * a * b + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return (similarity / ((a * a + b * b + _SSIM_C1) * (variances + _SSIM_C2))).mean(-1)


def ssim_in(maps: Maps, region: Region) -> float:
    """Mean SSIM of a box, without the picture's outermost 5 pixels, whose windows are not whole; NaN if nothing is left."""
    height, width = maps.ssim.shape
    top, bottom, left, right = region.rows_and_columns
    inner = maps.ssim[
        max(top, _SSIM_REACH) : min(bottom, height - _SSIM_REACH), max(left, _SSIM_REACH) : min(right, width - _SSIM_REACH)
    ]
    return float(inner.mean(dtype=np.float64)) if inner.size else math.nan


def sharpness_in(maps: Maps, region: Region) -> float:
    """Variance of the brightness's Laplacian in a box, over the truth's: 1 is as sharp as the truth, below is softer."""
    made, true = (
        float(cv2.Laplacian(np.ascontiguousarray(cut(luma, region)), cv2.CV_32F).var()) for luma in (maps.made, maps.true)
    )
    return made / true if true > 1e-6 else math.nan


def error_within(maps: Maps, mask: Bool[np.ndarray, "height width"]) -> float:
    """Root mean square error inside a mask, 8-bit steps; NaN for an empty one."""
    return math.sqrt(float(maps.error[mask].mean(dtype=np.float64))) if mask.any() else math.nan


@dataclass(frozen=True)
class Trembling:
    """Change from picture to picture where the truth is still, 8-bit steps: of the film, and of the truth itself."""

    made: float
    true: float


@dataclass(frozen=True)
class _Moment:
    """What `Flicker` remembers of a frame."""

    number: int
    made: Luma
    true: Luma
    blurred: Luma


class Flicker:
    """Looks at three pictures in a row.

    Second difference in time of the brightness, over pixels of the middle picture's face that are still in the truth: whose
    brightness, blurred, changes by less than STILL to the picture before and to the one after. Root mean square over these
    pixels, divided by the root of 6: for independent noise in every picture that is the noise's standard deviation.
    """

    def __init__(self) -> None:
        self._seen: deque[_Moment] = deque(maxlen=3)
        self._face: Region | None = None

    def push(self, number: int, maps: Maps, face: Region | None) -> tuple[int, Trembling] | None:
        """Add the picture of a frame; returns frame and reading of the one before, where its neighbours were pushed too."""
        blurred = cv2.GaussianBlur(maps.true, (0, 0), max(0.5, _BLUR * len(maps.true) / REFERENCE))
        self._seen.append(_Moment(number, maps.made, maps.true, blurred))
        middle, self._face, region = number - 1, face, self._face
        if region is None or [moment.number for moment in self._seen] != [number - 2, number - 1, number]:
            return None
        made, true, soft = (
            [cut(getattr(moment, name), region) for moment in self._seen] for name in ("made", "true", "blurred")
        )
        still = (np.abs(soft[1] - soft[0]) < STILL) & (np.abs(soft[2] - soft[1]) < STILL)
        if not still.any():
            return None
        return middle, Trembling(_second_difference(made, still), _second_difference(true, still))


def _second_difference(three: list[Luma], where: Bool[np.ndarray, "height width"]) -> float:
    change = (three[0] - 2 * three[1] + three[2])[where]
    return math.sqrt(float(np.square(change).mean(dtype=np.float64)) / 6)


def span(values: Float[np.ndarray, " frames"]) -> float:
    """How far a value ranges: its 2nd to its 98th percentile; NaN entries do not count."""
    known = values[np.isfinite(values)]
    return float(np.subtract(*np.percentile(known, (98, 2)))) if len(known) else math.nan
