"""The torso as machine code for the CPU, SAMPLES points at a time; everything between the coordinates and the pixel stays cached."""

from math import cos, exp, sin
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.freq_encode.op import freq_encode
from r2talker.ops.grid_encode.compiled import encode_points, layout_levels
from r2talker.ops.jit import SAMPLES, compiled, dense, layer
from r2talker.ops.render_torso.follow import beside_body, usual_stance
from r2talker.ops.render_torso.networks import TorsoNetworks
from r2talker.ops.render_torso.reference import POSE_OCTAVES, POSITION_OCTAVES
from r2talker.ops.threads import share_out

# Points per part: fewer are not worth a second thread.
_GRAIN = 16 * SAMPLES
_POSITION = 2 * (1 + 2 * POSITION_OCTAVES)


@torch.no_grad()
def blend(
    net: TorsoNetworks,
    coords: Float[Tensor, "points 2"],
    pose: Float[Tensor, "6"],
    individual: Float[Tensor, " width"],
    plate: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """See `r2talker.ops.render_torso.reference.blend`; pose and individual code are constant over a picture, so they are biases."""
    constant = torch.cat([freq_encode(pose[None], POSE_OCTAVES)[0], individual])
    deform, deform_constant = net.deform_first.split([_POSITION, len(constant)], dim=1)
    color, color_constant = net.color_first.split([net.layout.features + _POSITION, len(constant)], dim=1)
    rows = [
        deform, _biases(deform_constant @ constant), net.deform_second, net.deform_out,
        color, _biases(color_constant @ constant), net.color_second, net.color_out,
    ]  # fmt: skip
    matrices = tuple(values.detach().contiguous().numpy() for values in rows)
    grid = (net.table.detach().contiguous().numpy(), layout_levels(net.layout), (0,) * net.layout.channels)
    if net.follow is not None:
        coords = beside_body(coords, usual_stance(pose, net.follow), net.follow)
    points, under, out = coords.contiguous().numpy(), plate.contiguous().numpy(), torch.empty_like(plate)
    shrink, over = np.float32(net.shrink), out.numpy()
    share_out(lambda a, b: _blend(points, shrink, grid, matrices, under, over, a, b), len(points), grain=_GRAIN)
    return out


def _biases(values: Float[Tensor, " rows"]) -> Float[Tensor, "rows samples"]:
    return values[:, None].expand(-1, SAMPLES)


@compiled
def _waves(x: Any, axis: int, s: int, into: Any) -> None:
    """Sines and cosines of x, 2 x, 4 x ... by doubling the angle, in double precision because each doubling doubles the error."""
    a, b = sin(np.float64(x)), cos(np.float64(x))
    for octave in range((into.shape[0] - 2) // 4):
        into[2 + 4 * octave + axis, s], into[4 + 4 * octave + axis, s] = a, b
        a, b = 2 * a * b, (b - a) * (b + a)


@compiled
def _blend(points: Any, shrink: Any, grid: Any, matrices: Any, plate: Any, out: Any, start: int, stop: int) -> None:
    table, levels, width = grid
    deform, deform_bias, deform_second, deform_out, color, color_bias, color_second, color_out = matrices
    features, hidden, narrow = color.shape[1] - deform.shape[1], deform.shape[0], color.shape[0]
    # Rows: grid features, then coordinates and waves.
    x = np.zeros((color.shape[1], SAMPLES), np.float32)
    waves = x[features:]
    a, b = np.empty((hidden, SAMPLES), np.float32), np.empty((hidden, SAMPLES), np.float32)
    c, d = np.empty((narrow, SAMPLES), np.float32), np.empty((narrow, SAMPLES), np.float32)
    nothing, shift, answer = (
        np.zeros((hidden, SAMPLES), np.float32),
        np.empty((2, SAMPLES), np.float32),
        np.empty((4, SAMPLES), np.float32),
    )
    moved, encoded = np.zeros((SAMPLES, 2), np.float32), np.zeros((SAMPLES, features), np.float32)
    zero, least, one = np.float32(0), np.float32(-np.inf), np.float32(1)
    for first in range(start, stop, SAMPLES):
        count = min(SAMPLES, stop - first)
        for s in range(count):
            for axis in range(2):
                waves[axis, s] = points[first + s, axis] * shrink
                _waves(waves[axis, s], axis, s, waves)
        layer(deform, deform_bias, waves, a, zero)
        layer(deform_second, nothing, a, b, zero)
        dense(deform_out, nothing, b, shift, least, (0, 0))
        for s in range(count):
            for axis in range(2):
                moved[s, axis] = min(max(waves[axis, s] + shift[axis, s], -one), one)
        encode_points(moved, one, table, levels, encoded, 0, count, width)
        for s in range(count):
            for n in range(features):
                x[n, s] = encoded[s, n]
        layer(color, color_bias, x, c, zero)
        layer(color_second, nothing, c, d, zero)
        dense(color_out, nothing, d, answer, least, (0, 0, 0, 0))
        for s in range(count):
            alpha = one / (one + exp(-answer[0, s]))
            for n in range(3):
                under = plate[first + s, n]
                out[first + s, n] = under + alpha * (one / (one + exp(-answer[n + 1, s])) - under)
