"""An analytic talking head, on which frame time and training speed are compared: exact, so PSNR against it measures the model alone.

A textured ellipsoid before a vertical gradient, seen by a camera that sways around it; its mouth opens with `mouth(t)` and the 68
landmarks move along. Units are those of NGP space; axis 1 is the head's front and axis 2 its upward direction here, which
matters to nothing that is measured. All numbers are those of the scene on which the reference implementation was timed.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from r2talker.conditions import window_conditions
from r2talker.data.folder import Statistics
from r2talker.model.method import Method
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.types import Camera, Rays

FRAMES = 60
HELD_OUT = (3, 17, 31, 45)
TRAIN = tuple(frame for frame in range(FRAMES) if frame not in HELD_OUT)
AXES = (0.34, 0.34, 0.45)
"""Semi-axes of the ellipsoid."""
DISTANCE = 3.35
"""Of the camera from the origin."""
FOCAL = 1200 / 450
"""Focal length in picture widths."""
FEATURE_ROWS, FEATURE_WIDTH = 16, 44
"""Shape of an audio feature window."""
EYE = 0.25
"""Eye opening of every frame, percent of the picture."""
LIPS = (0.3, 0.05, 0.08)


@dataclass(frozen=True)
class Clip:
    """All frames: pictures as bytes, masks of the ellipsoid, what drives them, poses; everything on one device."""

    pictures: UInt8[Tensor, "frames size size 3"]
    masks: Bool[Tensor, "frames size size"]
    landmarks: Float[Tensor, "frames 68 3"]
    features: Float[Tensor, "frames 16 44"]
    eye: Float[Tensor, " frames"]
    c2w: Float[Tensor, "frames 4 4"]
    background: UInt8[Tensor, "size size 3"]

    @property
    def size(self) -> int:
        """Side of the pictures."""
        return self.pictures.shape[1]

    def camera(self, frame: int) -> Camera:
        """The camera of a frame."""
        return camera(self.c2w[frame], self.size)

    def windows(self, method: Method) -> Float[Tensor, "frames window *shape"]:
        """What drives every frame as `method` wants it, normalised by the training frames where it asks for that."""
        sequence = self.landmarks if method.drive.kind == "landmarks" else self.features
        return window_conditions(sequence, method.drive, statistics(self.landmarks[list(TRAIN)]))


def make_clip(size: int = 512, device: torch.device | str = "cpu") -> Clip:
    """Draw all frames at `size` x `size` pixels."""
    plate = background(size).to(device)
    poses = torch.stack([pose(frame) for frame in range(FRAMES)]).to(device)
    pictures, masks = [], []
    for frame in range(FRAMES):
        rgb, hit = shade(generate_rays(camera(poses[frame], size)), frame)
        picture = torch.where(hit[:, None], rgb, plate.reshape(-1, 3))
        pictures.append(as_bytes(picture).reshape(size, size, 3))
        masks.append(hit.reshape(size, size))
    eye = torch.full((FRAMES,), EYE, device=device)
    driven = landmarks().to(device), audio_features().to(device)
    return Clip(torch.stack(pictures), torch.stack(masks), *driven, eye, poses, as_bytes(plate))


def mouth(t: float) -> float:
    """Opening of the mouth in [0, 1] at time t in frames."""
    return 0.5 + 0.5 * math.sin(0.6 * t) * math.sin(0.13 * t)


def mouth_speed(t: float) -> float:
    """Derivative of `mouth`, per frame."""
    return 0.5 * (0.6 * math.cos(0.6 * t) * math.sin(0.13 * t) + 0.13 * math.sin(0.6 * t) * math.cos(0.13 * t))


def landmarks() -> Float[Tensor, "frames 68 3"]:
    """Driving landmarks of all frames, nearly all in [-1, 1]: random points that move along random directions with the mouth."""
    generator = torch.Generator().manual_seed(0)
    rest = torch.rand(68, 3, generator=generator) * 1.2 - 0.6
    move = torch.randn(68, 3, generator=generator) * 0.2
    opening = torch.tensor([mouth(frame) for frame in range(FRAMES)])
    return rest + move * opening[:, None, None]


def audio_features() -> Float[Tensor, "frames 16 44"]:
    """Feature windows of all frames, 16 rows at 50 Hz around each: column k mixes mouth and speed at an angle of pi k / 44."""
    times = [[frame + (row - FEATURE_ROWS // 2) / 2 for row in range(FEATURE_ROWS)] for frame in range(FRAMES)]
    opening = torch.tensor([[mouth(t) for t in row] for row in times])
    speed = torch.tensor([[mouth_speed(t) for t in row] for row in times])
    angle = torch.arange(FEATURE_WIDTH) * (math.pi / FEATURE_WIDTH)
    return opening[..., None] * angle.cos() + speed[..., None] * angle.sin()


def statistics(displacements: Float[Tensor, "frames 68 3"]) -> Statistics:
    """Statistics of a training split, as datasets carry them."""
    std, mean = torch.std_mean(displacements, dim=0)
    extremes = displacements.amin(0).tolist(), displacements.amax(0).tolist()
    return Statistics(mean.tolist(), std.tolist(), *extremes, eye_mean=EYE, eye_min=EYE, eye_max=EYE)


def pose(frame: int) -> Float[Tensor, "4 4"]:
    """Camera-to-world matrix: columns right, down, forward, position; always looking at the origin."""
    yaw, pitch = 0.25 * math.sin(0.11 * frame), 0.12 * math.sin(0.07 * frame + 1)
    position = DISTANCE * torch.tensor([math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    forward = -torch.nn.functional.normalize(position, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    matrix = torch.eye(4)
    matrix[:3] = torch.stack([right, torch.linalg.cross(forward, right), forward, position], dim=1)
    return matrix


def camera(c2w: Float[Tensor, "4 4"], size: int) -> Camera:
    """The scene's pinhole camera at a pose."""
    return Camera(c2w, FOCAL * size, FOCAL * size, size / 2, size / 2, size, size)


def background(size: int) -> Float[Tensor, "size size 3"]:
    """A gradient from top to bottom, colours in [0, 1]."""
    y = torch.linspace(0, 1, size)
    rows = torch.stack([0.2 + 0.5 * y, torch.full_like(y, 0.4), 0.7 - 0.4 * y], dim=-1)
    return rows[:, None].expand(size, size, 3)


def shade(rays: Rays, frame: int) -> tuple[Float[Tensor, "rays 3"], Bool[Tensor, " rays"]]:
    """Colours in [0, 1] where unit rays enter the ellipsoid, and which rays do; what misses it has no meaningful colour."""
    axes = rays.origins.new_tensor(AXES)
    o, d = rays.origins / axes, rays.directions / axes
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    discriminant = b * b - a * c
    entry = (-b - discriminant.clamp_min(0).sqrt()) / a
    return texture(rays.origins + entry[:, None] * rays.directions, mouth(frame)), discriminant > 0


def texture(points: Float[Tensor, "points 3"], opening: float) -> Float[Tensor, "points 3"]:
    """Colours in [0, 1] of points of the ellipsoid: coarse, medium and fine waves, and the mouth."""
    x, y, z = points.unbind(-1)
    coarse = torch.stack([torch.sin(9 * x + 3 * z), torch.sin(11 * z), torch.sin(14 * x)], dim=-1)
    fine = 0.12 * torch.sin(60 * x) * torch.sin(55 * z) + 0.05 * torch.sin(160 * x + 120 * z)
    skin = 0.55 + 0.2 * coarse + fine[:, None]
    inside = (x / 0.12) ** 2 + ((z + 0.18) / (0.02 + 0.06 * opening)) ** 2 < 1
    return torch.where((inside & (y > 0))[:, None], points.new_tensor(LIPS), skin).clamp(0, 1)


def as_bytes(colours: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Colours in [0, 1] as bytes, rounded."""
    return (colours * 255).round().to(torch.uint8)
