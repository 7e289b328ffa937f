"""A folded head's networks as machine code for the CPU, with gradients: SAMPLES samples at a time from features to colour and back.

Hidden layers are kept as [layer, unit, sample] per block of samples. The gradient of a matrix is a `dense` product too, with the
samples as its depth: rows are the layer's gradients, columns (in tiles of SAMPLES) its inputs, one sample a row.
"""

from math import exp
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from r2talker.ops.jit import SAMPLES, compiled, dense, layer
from r2talker.ops.render_head.fold import FoldedHead
from r2talker.ops.threads import share_out

# Blocks per part: fewer are not worth a second thread.
_GRAIN = 8
_ROWS = 8


def evaluate(
    head: FoldedHead, features: Float[Tensor, "samples inputs"], directions: Float[Tensor, "samples 16"]
) -> tuple[Float[Tensor, " samples"], Float[Tensor, "samples 3"]]:
    """See `r2talker.ops.render_head.fold.evaluate`."""
    exponent, color = _Evaluate.apply(
        features, directions, head.first, head.first_bias, head.second, head.second_bias, head.last, head.last_bias, head.rgb
    )
    return exponent, color


@torch.no_grad()
def exponents(head: FoldedHead, features: Float[Tensor, "samples inputs"]) -> Float[Tensor, " samples"]:
    """See `r2talker.ops.render_head.fold.exponents`."""
    kept, exponent = torch.empty(_tiles(len(features)), 3, len(head.second), SAMPLES), torch.empty(len(features))
    inputs = (_array(features), np.zeros((0, head.last.shape[1] - len(head.second)), np.float32))
    out, matrices = (kept.numpy(), exponent.numpy(), np.zeros((0, 3), np.float32)), _forward_matrices(head)
    share_out(lambda a, b: _forward(inputs, matrices, out, a, b), len(kept), grain=_GRAIN)
    return exponent


def _array(values: Tensor) -> "np.ndarray[Any, Any]":
    return values.detach().contiguous().numpy()


def _biases(values: Tensor) -> "np.ndarray[Any, Any]":
    return _array(values[:, None].expand(-1, SAMPLES))


def _padded(values: Tensor, multiple: int) -> Tensor:
    """Rows of zeros up to a multiple of `multiple`."""
    return torch.nn.functional.pad(values.detach(), (0, 0, 0, -len(values) % multiple))


def _tiles(columns: int) -> int:
    return -(-columns // SAMPLES)


def _forward_matrices(head: FoldedHead) -> tuple["np.ndarray[Any, Any]", ...]:
    joint, spread = head.last[:-1].split([len(head.second), head.last.shape[1] - len(head.second)], dim=1)
    rows = (head.first, head.second, joint, spread, _padded(head.last[-1:, : len(head.second)], 2), _padded(head.rgb, 4))
    return (*map(_array, rows), *map(_biases, (head.first_bias, head.second_bias, head.last_bias)))


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, directions: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor,
        last: Tensor, last_bias: Tensor, rgb: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        samples, hidden = len(features), len(second)
        joint, spread, exponent_row = last[:-1, :hidden], last[:-1, hidden:], _padded(last[-1:, :hidden], 2)
        matrices = _forward_matrices(FoldedHead(first, first_bias, second, second_bias, last, last_bias, rgb))
        kept = torch.empty(_tiles(samples), 3, hidden, SAMPLES)
        exponent, color = torch.empty(samples), torch.empty(samples, 3)
        inputs = (_array(features), _array(directions))
        out = (kept.numpy(), exponent.numpy(), color.numpy())
        share_out(lambda a, b: _forward(inputs, matrices, out, a, b), len(kept), grain=_GRAIN)
        ctx.save_for_backward(features, directions, kept, color, first, second, joint, exponent_row, rgb, spread)
        return exponent, color

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_exponent: Tensor, d_color: Tensor) -> tuple[Tensor | None, ...]:
        features, directions, kept, color, first, second, joint, exponent_row, rgb, spread = ctx.saved_tensors
        hidden, inputs, blocks = len(second), features.shape[1], len(kept)
        given = (*map(_array, (features, directions, kept, color, d_exponent, d_color)),)
        transposed = [_padded(first.t(), _ROWS), second.t(), joint.t(), exponent_row.t(), _padded(rgb, 4).t()]
        transposed.append(_padded(spread.t(), _ROWS))
        matrices = tuple(map(_array, transposed))
        d_features = torch.empty_like(features)
        # Only cameras that are refined ask for it.
        d_directions = torch.empty_like(directions) if ctx.needs_input_grad[1] else directions.new_empty(0, 0)
        d_inputs = (d_features.numpy(), d_directions.numpy())
        # One set of sums per thread that takes part; each is [tile of columns, row, column].
        shapes = (
            (_tiles(inputs), hidden), (_tiles(hidden), hidden), (_tiles(hidden), hidden), (1, hidden), (_tiles(hidden), 2),
            (_tiles(hidden), 4), (3, hidden),
        )  # fmt: skip
        sums: list[list[Tensor]] = []

        def part(start: int, stop: int) -> None:
            own = [torch.zeros(*shape, SAMPLES) for shape in shapes]
            _backward(given, matrices, d_inputs, tuple(values.numpy() for values in own), start, stop)
            sums.append(own)

        share_out(part, blocks, grain=_GRAIN)
        first_d, second_d, joint_d, spread_d, exponent_d, rgb_d, bias_d = (
            sum(values[1:], values[0]) for values in zip(*sums, strict=True)
        )
        biases = bias_d.sum(2)

        def matrix(tiles: Tensor, rows: int, columns: int) -> Tensor:
            return tiles.transpose(0, 1).reshape(tiles.shape[1], -1)[:rows, :columns]

        color_rows = torch.cat([matrix(joint_d, hidden, hidden), matrix(spread_d, hidden, directions.shape[1])], dim=1)
        exponent_d = torch.cat([matrix(exponent_d, 1, hidden), exponent_d.new_zeros(1, directions.shape[1])], dim=1)
        return (
            d_features if ctx.needs_input_grad[0] else None, d_directions if ctx.needs_input_grad[1] else None,
            matrix(first_d, hidden, inputs), biases[0], matrix(second_d, hidden, hidden), biases[1], torch.cat([color_rows, exponent_d]),
            torch.cat([biases[2], d_exponent.sum()[None]]), matrix(rgb_d, 3, hidden),
        )  # fmt: skip


@compiled
def _forward(inputs: Any, matrices: Any, out: Any, start: int, stop: int) -> None:
    features, directions = inputs
    first, second, joint, spread, exponent_row, rgb, first_bias, second_bias, last_bias = matrices
    kept, exponent, color = out
    samples, width, hidden = features.shape[0], features.shape[1], second.shape[0]
    x, d = np.zeros((width, SAMPLES), np.float32), np.zeros((directions.shape[1], SAMPLES), np.float32)
    ahead, nothing = np.empty((hidden, SAMPLES), np.float32), np.zeros((4, SAMPLES), np.float32)
    power, answer = np.empty((2, SAMPLES), np.float32), np.empty((4, SAMPLES), np.float32)
    zero, least = np.float32(0), np.float32(-np.inf)
    for block in range(start, stop):
        base, count = block * SAMPLES, min(SAMPLES, samples - block * SAMPLES)
        for s in range(count):
            for k in range(width):
                x[k, s] = features[base + s, k]
        if len(color):
            for s in range(count):
                for k in range(len(d)):
                    d[k, s] = directions[base + s, k]
        a, b, c = kept[block, 0], kept[block, 1], kept[block, 2]
        layer(first, first_bias, x, a, zero)
        layer(second, second_bias, a, b, zero)
        dense(exponent_row, nothing, b, power, least, (0, 0))
        for s in range(count):
            exponent[base + s] = power[0, s] + last_bias[hidden, s]
        if len(color) == 0:
            continue
        layer(spread, last_bias, d, ahead, least)
        layer(joint, ahead, b, c, zero)
        dense(rgb, nothing, c, answer, least, (0, 0, 0, 0))
        for s in range(count):
            for n in range(3):
                color[base + s, n] = np.float32(1) / (np.float32(1) + exp(-answer[n, s]))


@compiled
def _turn(units: Any, tiles: Any) -> None:  # [unit, sample] to [tile, sample, unit in the tile]
    for k in range(len(units)):
        for s in range(SAMPLES):
            tiles[k // SAMPLES, s, k % SAMPLES] = units[k, s]


@compiled
def _through_relu(gradient: Any, active: Any, bias: Any) -> None:  # stops what the ReLU stopped; adds up the bias's gradient
    for n in range(len(gradient)):
        for s in range(SAMPLES):
            value = gradient[n, s] if active[n, s] > 0 else np.float32(0)
            gradient[n, s] = value
            bias[n, s] += value


@compiled
def _add_products(gradient: Any, tiles: Any, sums: Any) -> None:
    for tile in range(len(sums)):
        layer(gradient, sums[tile], tiles[tile], sums[tile], np.float32(-np.inf))


@compiled
def _backward(given: Any, matrices: Any, d_inputs: Any, sums: Any, start: int, stop: int) -> None:
    features, directions, kept, color, d_exponent, d_color = given
    first, second, joint, exponent_row, rgb, spread = matrices
    d_features, d_directions = d_inputs
    first_d, second_d, joint_d, spread_d, exponent_d, rgb_d, bias_d = sums
    samples, width, hidden = features.shape[0], features.shape[1], second.shape[0]
    x, d = np.zeros((len(first_d), SAMPLES, SAMPLES), np.float32), np.zeros((1, SAMPLES, SAMPLES), np.float32)
    turned = np.empty((len(second_d), SAMPLES, SAMPLES), np.float32)
    g, h = np.empty((hidden, SAMPLES), np.float32), np.empty((hidden, SAMPLES), np.float32)
    nothing = np.zeros((max(len(first), len(spread)), SAMPLES), np.float32)
    back = np.empty((len(first), SAMPLES), np.float32)
    seen = np.empty((len(spread), SAMPLES), np.float32)
    wide, power, answer = (
        np.zeros((hidden, SAMPLES), np.float32),
        np.zeros((2, SAMPLES), np.float32),
        np.zeros((4, SAMPLES), np.float32),
    )
    least, one = np.float32(-np.inf), np.float32(1)
    for block in range(start, stop):
        base, count = block * SAMPLES, min(SAMPLES, samples - block * SAMPLES)
        for s in range(SAMPLES):
            inside = s < count
            power[0, s] = d_exponent[base + s] if inside else np.float32(0)
            for n in range(3):
                y = color[base + s, n] if inside else np.float32(0)
                answer[n, s] = d_color[base + s, n] * y * (one - y) if inside else np.float32(0)
            for k in range(width):
                x[k // SAMPLES, s, k % SAMPLES] = features[base + s, k] if inside else np.float32(0)
            for k in range(directions.shape[1]):
                d[0, s, k] = directions[base + s, k] if inside else np.float32(0)
        a, b, c = kept[block, 0], kept[block, 1], kept[block, 2]
        _turn(c, turned)
        for tile in range(len(rgb_d)):
            dense(answer, rgb_d[tile], turned[tile], rgb_d[tile], least, (0, 0, 0, 0))
        layer(rgb, wide, answer, g, least)
        _through_relu(g, c, bias_d[2])
        _turn(b, turned)
        _add_products(g, turned, joint_d)
        _add_products(g, d, spread_d)
        if len(d_directions):
            layer(spread, nothing, g, seen, least)
            for s in range(count):
                for k in range(d_directions.shape[1]):
                    d_directions[base + s, k] = seen[k, s]
        for tile in range(len(exponent_d)):
            dense(power, exponent_d[tile], turned[tile], exponent_d[tile], least, (0, 0))
        layer(exponent_row, wide, power, h, least)
        layer(joint, h, g, h, least)
        _through_relu(h, b, bias_d[1])
        _turn(a, turned)
        _add_products(h, turned, second_d)
        layer(second, wide, h, g, least)
        _through_relu(g, a, bias_d[0])
        _add_products(g, x, first_d)
        layer(first, nothing, g, back, least)
        for s in range(count):
            for k in range(width):
                d_features[base + s, k] = back[k, s]
