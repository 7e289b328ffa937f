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
    "planes or pictures": Tolerance(2.0, 0, "mean of 8-bit steps; inputs up to one step apart, coded without loss"),
    # subject: exact truth and what detectors make of the drawing
    "head frame": Tolerance(1e-6, 0, "metres; float32 points of size 0.1"),
    "projection of landmarks": Tolerance(0.01, 0, "pixels; float64 throughout, as promised to users"),
    "pitch of the voice": Tolerance(0, 0.15, "the contour falls by 26 % through each phrase"),
    "mesh on the drawn face": Tolerance(0.03, 0, "of the face's width; 0.009 at the eyes and 0.015 at the lips measured"),
}

TOLERANCES |= {
    # drive and its evaluation
    "still mouth": Tolerance(1e-5, 0, "metres; components of a face without variance have no size"),
    "streamed landmarks": Tolerance(1e-4, 0, "promised; products of other batch sizes and float64 sums: 2e-7 measured"),
    "pitch of a buzz": Tolerance(0.02, 0, "octaves; lags are whole samples: 1 in 80 at 200 Hz, half of that off"),
    "energy": Tolerance(1e-4, 0, "float32 logarithms"),
    "cepstra": Tolerance(1e-8, 1e-8, "float64 sums in another order"),
    "graph of float32": Tolerance(1e-3, 1e-5, "float32 sums of 494 products of size 1 in another order"),
    "bridged eye": Tolerance(2e-3, 0, "percent of the picture; linear across a blink where the clip curves"),
    "shape of a blink": Tolerance(0.02, 0, "relative to the bridged eye: 2e-3 of 0.3"),
    "projection of a known frame": Tolerance(0.05, 0.02, "the ridge of 0.03 shares a known frame's weight with its neighbours"),
    "first row's share": Tolerance(0.01, 0, "the first row counts 1 to 50; noise of 0.05 over 400 rows"),
    "lip distance": Tolerance(1e-7, 0, "metres; one float32 norm"),
    "envelope of noise": Tolerance(0.02, 0, "log-mel units, the noise's own fluctuation over ten frames"),
}

TOLERANCES |= {
    # networks against the golden vectors: bounds of golden/README.md section 3. "film" are methods without an ambient coordinate,
    # "ambient" those with one, where a 3e-8 change of the coordinate is amplified by a random table of 2048 cells.
    "golden encoded": Tolerance(1e-6, 0, "1.2e-7 measured"),
    "golden ambient": Tolerance(1e-6, 0, "8e-8 measured"),
    "golden sigma, film": Tolerance(0, 1e-5, "3.8e-6 measured"),
    "golden sigma, ambient": Tolerance(0, 1e-3, "amplified by the ambient table: 1.9e-4 measured"),
    "golden color, film": Tolerance(1e-5, 0, "1.2e-7 measured"),
    "golden color, ambient": Tolerance(1e-5, 0, "2.4e-6 measured"),
    "golden geo_feat, film": Tolerance(1e-5, 0, "4.3e-7 measured"),
    "golden geo_feat, ambient": Tolerance(1e-4, 0, "amplified by the ambient table: 3.4e-5 measured"),
    "golden torso_dx": Tolerance(5e-5, 0, "the vectors used a fast sine: 9.7e-6 measured"),
    "golden torso_alpha": Tolerance(1e-3, 0, "fast sine, then a random table of 2048 cells: 2.3e-4 measured"),
    "golden torso_color": Tolerance(5e-4, 0, "fast sine, then a random table of 2048 cells: 1.5e-4 measured"),
    "golden image_head, film": Tolerance(1e-5, 0, "3.0e-7 measured"),
    "golden image_head, ambient": Tolerance(5e-5, 0, "5.3e-6 measured"),
    "golden depth_head, film": Tolerance(1e-5, 0, "1.8e-6 measured"),
    "golden depth_head, ambient": Tolerance(5e-4, 0, "4.0e-5 measured"),
    "golden image_full": Tolerance(5e-4, 0, "the torso's colours: 1.4e-4 measured"),
    "golden image_head_fp16, film": Tolerance(1e-3, 0, "what half precision may change; 2.5e-4 between the vectors"),
    "golden image_head_fp16, ambient": Tolerance(1e-2, 0, "what half precision may change; 5.1e-3 between the vectors"),
    "golden train_image, film": Tolerance(1e-5, 0, "3.0e-7 measured"),
    "golden train_image, ambient": Tolerance(5e-5, 0, "9.6e-6 measured"),
    "golden train_loss": Tolerance(1e-6, 0, "1.5e-8 measured"),
    # gradients of that loss; probes are fractions of the gradient's norm
    "golden norm, film": Tolerance(0, 1e-4, "8.4e-6 measured"),
    "golden probe, film": Tolerance(1e-3, 0, "4.6e-5 measured"),
    "golden norm, nets": Tolerance(0, 5e-3, "colour, density, position table beside an ambient table: 4.9e-4 measured"),
    "golden probe, nets": Tolerance(2e-2, 0, "the same: 1.2e-2 measured"),
    "golden norm, condition": Tolerance(
        0, 2e-2, "through the ambient table, whose slope jumps at cell borders: 4.2e-3 measured"
    ),
    "golden probe, condition": Tolerance(5e-2, 0, "the same: 2.6e-2 measured"),
    "golden norm, cancelling": Tolerance(1.0, 0, "log10: gradients of 1e-10 to 1e-6 left of cancelling sums; 0.16 measured"),
    # model and conditions
    "frames at once": Tolerance(1e-5, 1e-5, "matrix products of another batch size; 10880 terms: 1.7e-6 measured"),
    "dense": Tolerance(1e-5, 1e-5, "sums of up to 64 float32 products against float64"),
    "folded, float64": Tolerance(1e-12, 1e-12, "other order of the same operations in float64"),
    "torso waves": Tolerance(
        3e-5, 0, "float32 sines of angles up to 500 against doubled angles in float64, then networks of gain 1.5 a layer"
    ),
    "FiLM": Tolerance(1e-6, 1e-5, "one fused multiply-add"),
    "linear grid": Tolerance(1e-5, 0, "corner values times weights that float32 positions give to 1e-6"),
    "spread at the start": Tolerance(0, 0.01, "scaled to it; another batch size of the same products"),
    "cell of a jittered point": Tolerance(1e-6, 0, "float32 rounding of a point on its cell's border; cells are 0.0156 wide"),
    "occupancy": Tolerance(0, 1e-6, "one float32 product per update"),
    "normalised": Tolerance(1e-5, 1e-5, "one subtraction and division"),
    # rendering
    "early stop": Tolerance(1.1e-4, 0, "the loop for pictures may add one more sample of weight below 1e-4: 5.3e-5 measured"),
    "early stop, depth": Tolerance(5e-4, 0, "that weight times t near 3.5, over far - near near 1: 1.9e-4 measured"),
    "rays apart": Tolerance(1e-5, 0, "matrix products of other batch sizes: 6e-8 measured, and steps per round may differ"),
    "whole": Tolerance(1e-5, 0, "weights that add up to one in float32"),
}

TOLERANCES |= {
    # data: what a dataset of the procedural clip, 128 pixels wide, says
    "rotation": Tolerance(1e-5, 0, "float32 matrices written as JSON"),
    "tracked landmarks": Tolerance(
        0.6, 0, "pixels at 128, mean over points and frames; poses are smooth, detections are not: 0.34 measured"
    ),
    "colour after H.264 and JPEG": Tolerance(
        6.0, 0, "mean of 8-bit steps over the head; two lossy codings and one scaling: 3.5 measured"
    ),
    "one 8-bit step": Tolerance(1.0, 0, "rounding to bytes"),
}

TOLERANCES |= {
    # avatars: pictures and videos of a scarcely trained one
    "sound through a file": Tolerance(1e-5, 0, "float samples in a wav file come back as they were"),
    "smoothed path": Tolerance(
        0.08, 0, "NGP units at a distance of 4; a mean over seven frames, four at the ends: 0.053 measured"
    ),
    "another size": Tolerance(6.0, 0, "mean of 8-bit steps; rays through pixel centres instead of area means, edges differ"),
    "sound beside pictures": Tolerance(0.1, 0, "seconds; whole AAC frames of 64 ms"),
}

TOLERANCES |= {
    # benchmarks: the analytic scene
    "closed form": Tolerance(1e-5, 1e-5, "a few float32 operations beside double precision"),
    "scene colour": Tolerance(
        2e-3, 0, "a surface point is known to 1e-6, the finest wave has a slope of 26 times its amplitude"
    ),
    "pixels of an outline": Tolerance(0, 0.05, "of 250 pixels; the view is tilted by 0.1 and pixels are whole"),
}

TOLERANCES |= {
    # fused kernels: halves with sums in single precision
    "half precision opacity": Tolerance(3e-3, 0, "the density's exponent carries errors of half precision: 1.1e-3 measured"),
    "half precision opacity, ambient": Tolerance(
        0.03, 0, "a rounded coordinate reads other cells of a random table of 2048: 0.013 measured, tiled or hashed"
    ),
    "half precision depth, film": Tolerance(5e-3, 0, "the same: 1.0e-3 measured"),
    "half precision depth, ambient": Tolerance(
        0.15, 0, "a rounded coordinate reads other cells of a random table of 2048: 0.06 measured"
    ),
    "half precision torso": Tolerance(
        0.03, 0, "a rounded deformation reads other cells of a random table of 2048: 0.009 measured"
    ),
    "formula of yuv": Tolerance(0.51, 0, "rounding to bytes, weights of 16 binary places"),
    "fused gradient": Tolerance(
        0.03, 0, "relative error of a gradient: halves, sums in single precision; 0.013 measured at most"
    ),
    "optimiser": Tolerance(1e-6, 1e-4, "single precision, fast power and root"),
}

TOLERANCES |= {
    # folders of other tools
    "eye value through text": Tolerance(2e-4, 0, "percent; points written with six digits, read as float32, eyes of 20 pixels"),
    "face model": Tolerance(1e-5, 0, "decimetres; float32 sums over 179 directions"),
    "rendered colour": Tolerance(1e-3, 0, "of 255; float32 weights of a large triangle"),
    "plate after JPEG": Tolerance(
        3.0, 0, "mean of 8-bit steps; quality 85 of the picture, coded apart from the plate: 1.9 measured"
    ),
    "first losses": Tolerance(1e-4, 0, "decibels and means; float32 statistics and eyes through text: 2e-6 measured"),
    "first losses, torsos cut out": Tolerance(
        1.0, 0, "decibels; nothing of neck and torso stands behind the head: 0.73 measured"
    ),
    "millionths of a metre": Tolerance(1e-6, 0, "float32 displacements of centimetres"),
}

TOLERANCES |= {
    # losses of patches
    "single precision sums": Tolerance(2e-6, 1e-5, "float32 means of some hundred numbers near 1"),
}

TOLERANCES |= {
    # evaluation of films
    "similarity": Tolerance(2e-5, 0, "float32 means of squares up to 65025 beside the SSIM's constants: 2.6e-6 measured"),
    "size of noise": Tolerance(0, 0.03, "relative; 38 pictures of 2304 pixels, rounded to bytes: 0.002 measured"),
    "pixels of a moved face": Tolerance(1e-4, 0, "pixels; float32 coordinates up to 200"),
    "lag of lips": Tolerance(2.0, 0, "milliseconds; a parabola through correlations of a frame's distance: 0.6 measured"),
    "lag of sound": Tolerance(
        0.5, 0, "frames; centre of a hump that the range of lags cuts off: 0.33 measured for 2 frames, 0.79 for 3"
    ),
    "readings through a film": Tolerance(1e-3, 0, "dB, pixels and ratios; written with five digits, pictures without loss"),
}

TOLERANCES |= {
    # several processes
    "summed by two processes": Tolerance(
        0, 0, "two summands commute, and each comes of the same operations on one thread: equal"
    ),
    "summed by processes": Tolerance(
        1e-5, 1e-4, "four summands in another order, 30 steps of Adam on a smooth loss: 1e-7 measured"
    ),
    "quality of another run": Tolerance(1.5, 0, "dB after 300 steps; other draws, and sums of atomics in any order"),
}

TOLERANCES |= {
    # halves for the networks' products, beside single precision
    "mixed density": Tolerance(
        1e-4, 0.02, "an exponent of up to 5 with an error of 2^-11 at each of three layers: 4.5e-3 measured"
    ),
    "mixed colour": Tolerance(1e-3, 0, "1.2e-4 measured"),
    "mixed gradient, film": Tolerance(0.05, 0, "relative error of a gradient: 0.02 measured at most"),
    "mixed gradient, ambient": Tolerance(
        0.15, 0, "the same through the cells of a random ambient table: 0.065 measured at most"
    ),
    "mixed torso": Tolerance(0.02, 0, "a rounded deformation shifts the point in a random table of 2048 cells"),
    "mixed run": Tolerance(
        0.5, 0, "dB; Adam makes much of small differences: 0.22 measured after 40 steps of 256 rays, 0.01 after 60"
    ),
}

TOLERANCES |= {
    # cameras
    "central differences": Tolerance(1e-6, 1e-6, "float64, third derivatives of size 100 times squared steps of 1e-4"),
    "differences in single precision": Tolerance(
        0.05, 0, "relative error; differences of 1e-4 between colours known to 3e-7, slopes that jump at the borders of cells"
    ),
}
