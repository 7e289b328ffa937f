"""Which frame and which pixels a step looks at; everything follows from the seed and the step, so that a resumed run draws the same."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.data.dataset import Dataset, Pictures
from r2talker.data.regions import Region, face_region, mask_region, padded_region
from r2talker.train.config import SamplingConfig

LIPS, EYES = slice(48, 68), slice(36, 48)
CLOSED_SHARE, WIDE_SHARE = 0.08, 0.25
"""Shares of an epoch that closed eyes and wide open mouths take at least."""
MOST_REPEATS = 30


@dataclass(frozen=True)
class FrameRegions:
    """Rectangles of one frame at the training size."""

    head: Region
    lips: Region
    eyes: Region
    face: Region


def frame_regions(dataset: Dataset, pictures: Pictures, frame: int) -> FrameRegions:
    """Head with a margin of 4 % of the picture; lips and eyes with margins of their own size."""
    size = pictures.size
    points = dataset.pixels[frame] * (size / dataset.info.size)
    head = mask_region(pictures.head[pictures.index[frame]], max(2, size // 25))
    return FrameRegions(
        head=head,
        lips=padded_region(points[LIPS], 0.35, size),
        eyes=padded_region(points[EYES], 0.1, size),
        face=face_region(points, size),
    )


def rehearsal(dataset: Dataset) -> list[int]:
    """Training frames of one epoch, excluded ones left out; frames that are rare and must not be missed are repeated until they are a
    share of it.

    Closed: less than half the usual eye opening. Wide: among the widest tenth of the mouth openings.
    """
    kept = torch.tensor(dataset.kept)
    eye, points = dataset.eye[kept], dataset.displacements[kept] + dataset.rest * dataset.info.landmark_scale
    opening = (points[:, 66] - points[:, 62]).norm(dim=-1)
    closed, wide = eye < eye.median() / 2, opening > torch.quantile(opening, 0.9)
    order = list(dataset.kept)
    for rare, share in ((closed, CLOSED_SHARE), (wide, WIDE_SHARE)):
        found = [dataset.kept[k] for k in torch.nonzero(rare).flatten().tolist()]
        missing = max(0, int(share * len(dataset.kept)) - len(found))
        order += [found[k % len(found)] for k in range(min(missing, MOST_REPEATS * len(found)))]
    return order


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step, independent of all other steps."""
    generator = torch.Generator(device)
    generator.manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
    return generator


def frame_of_step(frames: int, seed: int, step: int) -> int:
    """Numbers below `frames` in shuffled order, each once per epoch."""
    epoch, position = divmod(step, frames)
    return _shuffled(frames, seed * 7919 + epoch)[position]


@lru_cache(maxsize=64)
def _shuffled(frames: int, seed: int) -> list[int]:
    """Kept, because a phase on a GPU asks for a hundred thousand frames before its first step."""
    return torch.randperm(frames, generator=torch.Generator().manual_seed(seed)).tolist()


def sample_pixels(
    regions: FrameRegions, size: int, rays: int, config: SamplingConfig, generator: torch.Generator, *, elsewhere: int = 0
) -> Int[Tensor, " drawn"]:
    """Flat row-major pixel numbers, drawn with replacement: each region's share is drawn uniformly from its rectangle.

    elsewhere: rays that others draw and the head's rectangle goes without; the result has so many fewer.
    """
    everything = Region(0, size, 0, size)
    shares = [(everything, config.anywhere), (regions.lips, config.lips), (regions.eyes, config.eyes)]
    counts = [int(rays * share) for _, share in shares]
    plan = [(regions.head, rays - sum(counts) - elsewhere), *zip((region for region, _ in shares), counts, strict=True)]
    return torch.cat([pixels_inside(region, count, size, generator) for region, count in plan])


def sample_patches(
    regions: FrameRegions, size: int, count: int, side: int, config: SamplingConfig, generator: torch.Generator
) -> Int[Tensor, " rays"]:
    """Flat row-major pixel numbers of `count` patches of side x side pixels, one after the other, row by row.

    Their middles are pixels of a region drawn by the shares; patches that would stand out of the picture are moved inside.
    """
    everything = Region(0, size, 0, size)
    # By thresholds: `multinomial` sums up its weights in any order on a GPU.
    ends = torch.tensor([config.anywhere, config.lips, config.eyes]).cumsum(0).to(generator.device)
    drawn = (torch.rand(count, 1, generator=generator, device=generator.device) >= ends).sum(dim=1)
    places = (everything, regions.lips, regions.eyes, regions.head)
    middles = torch.cat([pixels_inside(places[int(k)], 1, size, generator) for k in drawn])
    return patches_around(middles, side, size).reshape(-1)


def patches_around(middles: Int[Tensor, " patches"], side: int, size: int) -> Int[Tensor, "patches pixels"]:
    """Flat row-major pixel numbers of the square patches around pixels, row by row, moved inside where they would stand out."""
    top, left = ((v - side // 2).clamp(0, size - side) for v in (middles // size, middles % size))
    along = torch.arange(side, device=middles.device)
    rows, columns = top[:, None, None] + along[:, None], left[:, None, None] + along
    return (rows * size + columns).flatten(1)


def within_pixels(coords: Float[Tensor, "pixels 2"], shift: Float[Tensor, "pixels 2"], size: int) -> Float[Tensor, "pixels 2"]:
    """Coordinates of pixels' middles moved anywhere within their pixels. shift: uniform in [0, 1).

    Looked at in their middles only, pixels leave open what lies between, where the finest waves of the encoding have room for another
    period: pictures of another size then have a plaid torso.
    """
    return coords + (shift - 0.5) * (2 / max(size - 1, 1))


def pixels_inside(region: Region, count: int, size: int, generator: torch.Generator) -> Int[Tensor, " count"]:
    """Flat row-major pixel numbers drawn uniformly from a region of a `size` x `size` picture, with replacement."""
    u = torch.rand(2, count, generator=generator, device=generator.device)
    rows = (region.top + u[0] * (region.bottom - region.top)).long().clamp(max=size - 1)
    columns = (region.left + u[1] * (region.right - region.left)).long().clamp(max=size - 1)
    return rows * size + columns
