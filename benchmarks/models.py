"""Models of the scene: fresh, trained and saved, or standing in for a trained one; and what a sample of them costs at least."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.scene import AXES, FEATURE_WIDTH, FRAMES, TRAIN, Clip
from r2talker import methods
from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors
from r2talker.model.ambient import AmbientConditioning
from r2talker.model.grid import Grid
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.render.config import RenderSettings
from r2talker.train.shape import coarsened
from r2talker.types import Camera

NET_RATE = 3e-3
"""Learning rate of the networks on the scene."""
SECTOR = 32
"""Bytes that a GPU's cache hands out at a time."""
TORSO_FROM = 0.4
"""The stand-in torso covers the rows below this one, of -1 to 1: three tenths of the picture."""


def build_model(method: str, size: int, device: torch.device | str, *, torso: bool = False, seed: int = 0) -> TalkingHead:
    """A fresh model for pictures of `size` pixels, shaped as training shapes it; the torso, if any, has random weights."""
    chosen = methods.get(method)
    torch.manual_seed(seed)
    config = ModelConfig(
        HeadConfig(coarsened(chosen.position_grid, 4 * size), codes=FRAMES),
        chosen.trained_grid,
        TorsoConfig(coarsened(torso_grid(), 2 * size), codes=FRAMES) if torso else None,
        FEATURE_WIDTH if chosen.drive.kind == "audio" else 0,
    )
    model = TalkingHead(config, chosen)
    if torso:
        _cover_below(model)
    return model.to(device)


def save_model(path: Path, model: TalkingHead, size: int) -> None:
    """Write the head and its occupancy, and the size they were trained at."""
    tensors = {key: value for key, value in model.state_dict().items() if not key.startswith("torso")}
    write_tensors(path, tensors, {"size": str(size)})


def load_model(path: Path, method: str, size: int, device: torch.device | str, *, torso: bool = False) -> TalkingHead:
    """A saved head, with a stand-in torso if wanted. R2TalkerError when it does not fit the method and size."""
    model = build_model(method, size, device, torso=torso)
    known = set(model.state_dict())
    tensors = load_file(path, device=str(device))
    missing = {key for key in known if not key.startswith("torso")} - set(tensors)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if missing or any(shapes.get(key) != tuple(value.shape) for key, value in tensors.items()):
        raise R2TalkerError(f"{path} does not hold a {method} head for {size} pixels; train one with benchmarks.bench_train")
    model.load_state_dict(tensors, strict=False)
    return model.eval().requires_grad_(False)


def stand_in(method: str, size: int, device: torch.device | str, *, torso: bool = False) -> TalkingHead:
    """An untrained model that costs about as much as a trained one: random tables of unit size, occupied where the ellipsoid is."""
    model = build_model(method, size, device, torso=torso)
    for module in model.head.modules():
        if isinstance(module, Grid):
            nn.init.uniform_(module.embeddings, -1, 1)
    radius = (model.occupancy.centres() / model.occupancy.density.new_tensor(AXES)).norm(dim=-1)
    model.occupancy.restrict((radius > 0.95) & (radius < 1.03))
    return model.eval().requires_grad_(False)


def choose_model(
    folder: Path | None, method: str, size: int, device: torch.device | str, *, torso: bool = False
) -> TalkingHead:
    """The head that bench_train saved in `folder`, or the stand-in when no folder is given."""
    if folder is None:
        return stand_in(method, size, device, torso=torso)
    return load_model(folder / f"{method}.safetensors", method, size, device, torso=torso)


def head_hull(clip: Clip, points: Float[Tensor, "points 3"], settings: RenderSettings) -> Bool[Tensor, " points"]:
    """Points of the rendered box that every fourth training frame sees inside the grown mask."""
    box = points.new_tensor(settings.aabb)
    possible = ((points >= box[:3]) & (points <= box[3:])).all(-1)
    grow = max(1, clip.size // 40)
    for frame in TRAIN[::4]:
        mask = nn.functional.max_pool2d(clip.masks[frame][None].float(), 2 * grow + 1, stride=1, padding=grow)[0] > 0
        view = clip.camera(frame)
        x, y, z = ((points - view.c2w[:3, 3]) @ view.c2w[:3, :3]).unbind(-1)
        column = (x / z * view.fx + view.cx).long().clamp(0, clip.size - 1)
        row = (y / z * view.fy + view.cy).long().clamp(0, clip.size - 1)
        possible &= mask[row, column] & (z > 0)
    return possible


@torch.no_grad()
def encode_codes(model: TalkingHead, clip: Clip) -> Float[Tensor, "frames code"]:
    """Condition codes of all frames, as one batch."""
    return model.head.contract.encode(clip.windows(model.method))


def frame_code(model: TalkingHead, clip: Clip, codes: Float[Tensor, "frames code"], frame: int) -> FrameCode:
    """What is constant over a frame when pictures are made."""
    return FrameCode(codes[frame], clip.eye[frame], model.head.individual_codes[0])


@torch.no_grad()
def count_samples(model: TalkingHead, camera: Camera, settings: RenderSettings) -> int:
    """Occupied samples of a frame, at most `max_steps` a ray, those behind an opaque surface counted too."""
    rays = generate_rays(camera)
    bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
    samples = march_rays(
        rays.origins, rays.directions, bounds.near, bounds.far, model.occupancy.bitfield,
        max_steps=settings.max_steps, dt_gamma=settings.growth,
    )  # fmt: skip
    return int(samples.counts.sum())


@dataclass(frozen=True)
class SampleCost:
    """The least that one sample of a head takes: operations of its matrix products, bytes of its grid entries."""

    operations: float
    moved: float


def sample_cost(model: TalkingHead) -> SampleCost:
    """From the shapes of what is evaluated per sample: the networks as they are written, unfolded, and the grids.

    Of a level that reads k coordinates 2^k corners are needed, pairs of which are neighbours in the table and share a sector.
    """
    head, grids, networks = model.head, [model.head.position_grid], [model.head.sigma_net, model.head.color_net]
    if isinstance(head.conditioning, AmbientConditioning):
        grids.append(head.conditioning.ambient_grid)
        networks.append(head.conditioning.ambient_net)
    products = sum(parameter.numel() for network in networks for parameter in network.parameters())
    moved = sum(2 ** len(strides) // 2 * SECTOR for grid in grids for strides in grid.layout.strides)
    return SampleCost(2.0 * products, float(moved))


def _cover_below(model: TalkingHead) -> None:
    """Occupy the torso's cells (row a, column b at b * side + a) below TORSO_FROM."""
    alpha = model.torso_occupancy.alpha
    side = round(len(alpha) ** 0.5)
    rows = torch.linspace(-1, 1, side) > TORSO_FROM
    alpha.copy_(rows.float().repeat(side))
    model.torso_occupancy.mean.copy_(alpha.mean())


def without_pose(camera: Camera) -> Camera:
    """The camera of a renderer, which gets its poses with every draw."""
    return replace(camera, c2w=torch.eye(4, device=camera.c2w.device))
