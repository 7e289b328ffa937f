"""Which colours a person's skin, hair and clothes have: one smoothed histogram each, learned from the clip itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from scipy.ndimage import gaussian_filter

_BINS = 32
_SHIFT = 3
# Share of the histogram's mass spread evenly, so that an unseen colour is unlikely, not impossible.
_FLOOR = 0.02
# A class with fewer samples than this says nothing: every colour is equally likely.
_FEWEST = 200


@dataclass(frozen=True)
class ColourModel:
    """Log likelihood per bin of 8-bit CIE Lab."""

    table: Float32[np.ndarray, "{_BINS} {_BINS} {_BINS}"]

    def log_likelihood(self, lab: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
        """Natural log of the density of every pixel, in units of the even density."""
        return self.table.take(find_bins(lab))


def find_bins(lab: UInt8[np.ndarray, "height width 3"]) -> Int[np.ndarray, "height width"]:
    """Place of every pixel's colour in a model's table, counted along its rows."""
    lightness, a, b = (channel.astype(np.intp) for channel in cv2.split(lab >> _SHIFT))
    return (lightness * _BINS + a) * _BINS + b


def learn_colours(samples: Sequence[UInt8[np.ndarray, "pixels 3"]], *, shadows: Sequence[float] = (1.0,)) -> ColourModel:
    """Histogram of Lab samples; `shadows` adds copies with their lightness times each factor."""
    pixels = np.concatenate(samples) if samples else np.zeros((0, 3), np.uint8)
    counts = np.zeros((_BINS,) * 3)
    for factor in shadows if len(pixels) >= _FEWEST else ():
        # A surface in shadow loses colour along with lightness.
        shaded = pixels.astype(np.float32)
        shaded[:, 0] *= factor
        shaded[:, 1:] = 128 + (shaded[:, 1:] - 128) * (0.4 + 0.6 * factor)
        index = shaded.astype(np.uint8) >> _SHIFT
        np.add.at(counts, (index[:, 0], index[:, 1], index[:, 2]), 1 / (len(shadows) * len(pixels)))
    even = 1 / _BINS**3
    density = gaussian_filter(counts, 1.0) * (1 - _FLOOR) + _FLOOR * even if counts.any() else np.full_like(counts, even)
    return ColourModel(np.log(density / even).astype(np.float32))


def to_lab(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """8-bit CIE Lab of an RGB picture."""
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)


def pick(
    lab: UInt8[np.ndarray, "height width 3"], where: Bool[np.ndarray, "height width"], most: int
) -> UInt8[np.ndarray, "pixels 3"]:
    """At most `most` pixels of a region, evenly spread."""
    pixels = lab[where]
    return pixels[:: max(1, len(pixels) // most)][:most]
