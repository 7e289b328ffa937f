"""How close is close enough, and why: the one place where tests take tolerances from.

`assert_close(actual, expected, "<entry>")` demands |actual - expected| <= atol + rtol * |expected|, NaN equal to NaN.
"""

from typing import Any, NamedTuple

import numpy as np
import torch


class Tolerance(NamedTuple):
    """Absolute and relative part, and where they come from."""

    atol: float
    rtol: float
    reason: str


TOLERANCES: dict[str, Tolerance] = {
    # ops against the golden vectors; the bounds are those of golden/README.md section 3
    "exact": Tolerance(0, 0, "integers, or the same float operations in the same order"),
    "golden grid": Tolerance(1e-6, 0, "1e-7 measured with the literal level scales"),
    "golden grid, rounded twice": Tolerance(5e-5, 0, "hardware that rounds between multiply and add: 4e-5 measured"),
    "golden grid_x": Tolerance(1e-5, 0, "of the row's maximum; 1.4e-6 measured"),
    "golden grid table, squared": Tolerance(0, 1e-6, "1e-8 measured"),
    "golden grid table, probe": Tolerance(1e-4, 0, "2.6e-6 measured"),
    "golden sh": Tolerance(1e-6, 0, "7.7e-8 measured"),
    "golden freq_6d_4": Tolerance(5e-6, 0, "the vectors used a fast sine: 1.5e-6 measured"),
    "golden freq_2d_10": Tolerance(1e-4, 0, "the vectors used a fast sine, error doubles per octave: 5.7e-5 measured"),
    "golden rays": Tolerance(1e-6, 0, "1.2e-7 measured"),
    "golden march": Tolerance(1e-5, 0, "bit-identical measured"),
    "golden composite": Tolerance(1e-7, 1e-5, "the vectors used a fast exponential"),
    "golden composite gradient": Tolerance(1e-5, 0, "of the array's maximum"),
    "golden picture": Tolerance(1e-6, 0, "one rounding of a colour"),
    # fast forms against references
    "grid bags": Tolerance(2e-6, 1e-5, "the order of eight or four float32 additions, tables of unit size"),
    "grid bags gradient": Tolerance(2e-5, 1e-4, "the order of up to thousands of float32 additions"),
    "grid bags slope": Tolerance(1e-4, 0, "of the maximum; slopes are differences times scales up to 2047"),
    "grid corner": Tolerance(1e-3, 0, "float32 coordinates reach a corner to 2047 * 6e-8 of a cell"),
    "march lattice": Tolerance(1e-5, 0, "t near 4 accumulated over a hundred steps"),
    "march gradient": Tolerance(1e-5, 1e-5, "sums of a ray's samples in another order"),
    "composite loop": Tolerance(1e-6, 1e-5, "product of (1 - alpha) against the exponential of a sum"),
    "geometry": Tolerance(1e-6, 1e-6, "a handful of float32 operations"),
    "gpu": Tolerance(1e-5, 1e-4, "another device's order of additions and fused operations"),
}


def assert_close(actual: Any, expected: Any, entry: str) -> None:
    """Compare arrays, tensors or numbers under an entry of the table."""
    tolerance = TOLERANCES[entry]
    np.testing.assert_allclose(
        _array(actual), _array(expected), atol=tolerance.atol, rtol=tolerance.rtol, err_msg=f"{entry}: {tolerance.reason}"
    )


def _array(values: Any) -> np.ndarray[Any, Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


TOLERANCES |= {
    # media: what lossy coding may change
    "colour after H.264": Tolerance(3.0, 0, "mean of 8-bit steps; chroma is halved and limited-range: 1.3 measured"),
    "sound after AAC": Tolerance(0.05, 0, "seconds; one AAC frame at 16 kHz is 64 ms long, edges land within a part of it"),
    # subject: exact truth and what detectors make of the drawing
    "head frame": Tolerance(1e-6, 0, "metres; float32 points of size 0.1"),
    "projection of landmarks": Tolerance(0.01, 0, "pixels; float64 throughout, as promised to users"),
    "pitch of the voice": Tolerance(0, 0.15, "the contour falls by 26 % through each phrase"),
    "mesh on the drawn face": Tolerance(0.03, 0, "of the face's width; 0.009 at the eyes and 0.015 at the lips measured"),
}
