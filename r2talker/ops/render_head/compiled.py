"""Pictures of a head as machine code for the CPU: each thread holds SAMPLES rays in slots, one sample of each at a time.

A ray that has ended leaves its slot to the next one, so that the matrix products are always full and no sample behind a ray's
end is evaluated. Everything between the table rows and the pixel stays in the first caches. For heads without an ambient
coordinate.
"""

from math import exp, expm1
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.ops.grid_encode.compiled import encode_points, layout_levels
from r2talker.ops.jit import SAMPLES, compiled, dense, layer
from r2talker.ops.march_rays.compiled import coordinate, step_length, walk
from r2talker.ops.march_rays.march import March
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.ops.render_head.fold import FoldedHead, fits, fold_head
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.render_head.reference import HeadPicture, Marching
from r2talker.ops.sh_encode.op import sh_encode
from r2talker.ops.threads import share_out
from r2talker.types import Rays

# Rays with samples per part: fewer are not worth a second thread.
_GRAIN = 4 * SAMPLES
_GRID_SIZE = 128


@torch.no_grad()
def render(
    net: HeadNetworks,
    bitfield: UInt8[Tensor, " bytes"],
    rays: Rays,
    marching: Marching,
    background: Float[Tensor, "rays 3"],
    code: Float[Tensor, " code"],
    eye: Float[Tensor, ""],
    individual: Float[Tensor, " width"],
) -> HeadPicture:
    """As `r2talker.ops.render_head.reference.render`, but a ray also takes the sample that starts just below the threshold.

    Raises ValueError for networks that the kernel cannot evaluate.
    """
    if not fits(net):
        raise ValueError(
            f"render_head: 'compiled' needs float32 on a CPU and no ambient coordinate, got {net.layout} on {net.device}"
        )
    bounds = intersect_aabb(rays.origins, rays.directions, marching.aabb, min_near=marching.min_near)
    march = March(
        rays.origins, rays.directions, bounds.near, bounds.far, bitfield, marching.max_steps, marching.dt_gamma, 1.0, _GRID_SIZE,
        None, marching.extra,
    )  # fmt: skip
    walked = walk(march)
    hit = torch.from_numpy(walked.counts).nonzero().squeeze(1)
    film = code.reshape(2, 2, -1) if net.film else None
    head = fold_head(
        (net.first, net.second, net.third), (net.color, net.rgb), individual, eye=eye if net.eye else None, film=film
    )
    hidden = len(net.second)
    spread = head.last_bias[:-1] + sh_encode(rays.directions[hit]) @ head.last[:-1, hidden:].T
    rgb, opacity, depth = background.new_zeros(len(background), 3), torch.zeros(len(background)), torch.zeros(len(background))
    walks = (rays.origins.contiguous().numpy(), rays.directions.contiguous().numpy(), *walked)
    grid = (
        net.table.detach().contiguous().numpy(),
        layout_levels(net.layout),
        (0,) * net.layout.channels,
        net.layout.axis_order,
    )
    matrices = _matrices(head, hidden)
    living = torch.zeros(len(background), dtype=torch.long)
    out = (rgb.numpy(), opacity.numpy(), depth.numpy(), living.numpy())
    order, shown, threshold = hit.numpy(), spread.contiguous().numpy(), np.float32(marching.transmittance_threshold)
    share_out(lambda a, b: _render(walks, grid, matrices, order, shown, threshold, out, a, b), len(order), grain=_GRAIN)
    return HeadPicture(rgb + (1 - opacity)[:, None] * background, opacity, depth, living)


def _matrices(head: FoldedHead, hidden: int) -> tuple["np.ndarray[Any, Any]", ...]:
    """first, its bias at every slot, second, its bias, joint, and the four last rows: density's exponent from `hidden`, red, green, blue."""
    joint, exponent = head.last[:-1, :hidden], head.last[-1:, :hidden]
    rows = [
        head.first,
        head.first_bias[:, None].expand(-1, SAMPLES),
        head.second,
        head.second_bias[:, None].expand(-1, SAMPLES),
    ]
    rows += [joint, torch.cat([exponent, torch.zeros_like(exponent)]), torch.cat([head.rgb, torch.zeros_like(head.rgb[:1])])]
    return tuple(values.detach().contiguous().numpy() for values in rows)


@compiled
def _weigh(exponent: Any, delta: Any, opacity: Any) -> Any:  # a sample's weight behind what has been gathered
    return -expm1(-exp(exponent) * delta) * (np.float32(1) - opacity)


@compiled
def _render(
    walks: Any, grid: Any, matrices: Any, order: Any, shown: Any, threshold: Any, out: Any, start: int, stop: int
) -> None:
    origins, directions, found, counts, numbers = walks
    table, levels, width, axes = grid
    first, first_bias, second, second_bias, joint, exponent, rgb = matrices
    image, opacity, depth, living_after = out
    features, hidden = first.shape[1], first.shape[0]
    slots, taken = np.full(SAMPLES, -1, np.int64), np.zeros(SAMPLES, np.int64)
    points, encoded = np.zeros((SAMPLES, 3), np.float32), np.zeros((SAMPLES, features), np.float32)
    x, a, b = (
        np.zeros((features, SAMPLES), np.float32),
        np.zeros((hidden, SAMPLES), np.float32),
        np.zeros((hidden, SAMPLES), np.float32),
    )
    direction, nothing = np.zeros((hidden, SAMPLES), np.float32), np.zeros((4, SAMPLES), np.float32)
    sigma, color = np.zeros((4, SAMPLES), np.float32), np.zeros((4, SAMPLES), np.float32)
    zero, least = np.float32(0), np.float32(-np.inf)
    following, living = start, 0
    while True:
        for s in range(SAMPLES):
            if slots[s] < 0 and following < stop:
                slots[s], taken[s] = order[following], 0
                for n in range(hidden):
                    direction[n, s] = shown[following, n]
                following, living = following + 1, living + 1
            if slots[s] >= 0:
                for axis in range(3):
                    points[s, axis] = coordinate(
                        origins, directions, slots[s], axes[axis], found[slots[s], taken[s]], numbers[3]
                    )
        if living == 0:
            break
        encode_points(points, np.float32(1), table, levels, encoded, 0, SAMPLES, width)
        for s in range(SAMPLES):
            for c in range(features):
                x[c, s] = encoded[s, c]
        layer(first, first_bias, x, a, zero)
        layer(second, second_bias, a, b, zero)
        dense(exponent, nothing, b, sigma, least, (0, 0))
        layer(joint, direction, b, a, zero)
        dense(rgb, nothing, a, color, least, (0, 0, 0, 0))
        for s in range(SAMPLES):
            ray = slots[s]
            if ray < 0:
                continue
            t = found[ray, taken[s]]
            delta, passed = step_length(t, numbers), np.float32(1) - opacity[ray]
            weight = _weigh(sigma[0, s], delta, opacity[ray])
            opacity[ray] += weight
            depth[ray] += weight * (t + delta)
            for c in range(3):
                image[ray, c] += weight / (np.float32(1) + exp(-color[c, s]))
            taken[s] += 1
            if taken[s] == counts[ray] or passed < threshold:
                # Only a round that finds no more samples sees that there are none.
                living_after[ray] = taken[s] - 1 if passed < threshold else taken[s]
                slots[s] = -1
                living -= 1
