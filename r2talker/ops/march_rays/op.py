"""Public door of the ray marcher."""

from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.ops.march_rays import lattice, reference
from r2talker.ops.march_rays.march import March
from r2talker.types import Samples


def march_rays(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, " rays"],
    far: Float[Tensor, " rays"],
    bitfield: UInt8[Tensor, " bytes"],
    *,
    max_steps: int = 16,
    extra: int = 0,
    dt_gamma: float = 1 / 256,
    bound: float = 1.0,
    grid_size: int = 128,
    noise: Float[Tensor, " rays"] | None = None,
    impl: Literal["auto", "reference", "lattice", "compiled"] = "auto",
) -> Samples:
    """Samples of every ray in occupied cells, at most `max_steps` + `extra` each, no ray dropped (upstream.md 5.2, 5.3).

    `max_steps` also sets the shortest step, `extra` does not.

    Rays in NGP space with unit directions; near and far from `intersect_aabb`. bitfield: cascades * grid_size^3 cells, eight to
    a byte, Morton order (`pack_bits`). noise: in [0, 1), shifts a ray's first sample by that part of a step.

    positions and directions of the samples are differentiable in `origins` and `directions` with t held constant.
    impl: `reference` walks every ray, all of them one step at a time; `lattice` looks up all steps at once, for a single cascade;
    `compiled` walks in machine code, for a single cascade and float32 on a CPU; `auto` takes the last of them that can run.
    Raises ValueError when shapes or devices do not fit, or when an `impl` is asked for and cannot run.
    """
    m = March(origins, directions, near, far, bitfield, max_steps, dt_gamma, bound, grid_size, noise, extra)
    _check(m)
    if impl == "auto":
        impl = "reference" if m.cascades != 1 else "compiled" if m.compiles else "lattice"
    if impl == "reference":
        return reference.march(m)
    if impl not in ("lattice", "compiled"):
        raise ValueError(f"march_rays: impl must be 'auto', 'reference', 'lattice' or 'compiled', not {impl!r}")
    if m.cascades != 1:
        raise ValueError(f"march_rays: impl {impl!r} needs a single cascade, got {m.cascades}")
    if impl == "lattice":
        return lattice.march(m)
    if not m.compiles:
        raise ValueError(f"march_rays: impl 'compiled' needs float32 on a CPU, got {origins.dtype} on {origins.device}")
    from r2talker.ops.march_rays import compiled

    return compiled.march(m)


def _check(m: March) -> None:
    rays = len(m.origins)
    if m.origins.shape != (rays, 3) or m.directions.shape != (rays, 3):
        raise ValueError(f"march_rays: rays must be [rays, 3], got {list(m.origins.shape)} and {list(m.directions.shape)}")
    for name, values in (("near", m.near), ("far", m.far), ("noise", m.noise)):
        if values is not None and values.shape != (rays,):
            raise ValueError(f"march_rays: {name} must be [{rays}], got {list(values.shape)}")
    side = m.grid_size
    if side < 2 or side > 1024 or side & (side - 1):
        raise ValueError(f"march_rays: grid_size must be a power of two from 2 to 1024, got {side}")
    if m.bitfield.dtype != torch.uint8 or m.bitfield.numel() == 0 or m.bitfield.numel() * 8 % side**3:
        raise ValueError(f"march_rays: bitfield must be uint8 with grid_size^3 / 8 = {side**3 // 8} bytes per cascade")
    if m.max_steps < 1 or m.extra < 0 or not m.bound > 0:
        raise ValueError(
            f"march_rays: max_steps and bound must be positive, extra not negative, got {m.max_steps}, {m.bound}, {m.extra}"
        )
    devices = {values.device for values in (m.origins, m.directions, m.near, m.far, m.bitfield, m.noise) if values is not None}
    if len(devices) > 1:
        raise ValueError(f"march_rays: all tensors must be on one device, got {sorted(map(str, devices))}")
