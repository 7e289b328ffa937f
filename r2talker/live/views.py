"""What a listener wants to see of a frame, drawn: plain pictures in batches, everything else one by one."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.errors import R2TalkerError
from r2talker.live.board import blend_board
from r2talker.live.messages import Look
from r2talker.live.performer import Moved
from r2talker.model.head import FrameCode
from r2talker.ops.camera_rays.op import SCENE_SCALE, generate_rays
from r2talker.render.config import RenderSettings
from r2talker.render.rays import render_rays
from r2talker.render.renderer import Renderer
from r2talker.render.sight import Sight, orbit, show
from r2talker.types import Camera

RENDERERS = 8
"""Kept at once; each holds its plate and two batches of pictures."""
STEP = 2 * 3**0.5 / 128
"""The longest step through the grid (upstream.md 5.2)."""
MARK = (80, 255, 120)
"""Colour of landmarks."""
MOST_STEPS, MOST_SPP, MOST_FOV, MOST_SIDE = 1024, 256, 120.0, 1024


@dataclass(frozen=True)
class View:
    """A `Look` that was checked, with the side that is drawn. backdrop: pictures are told apart by `backdrop_number`."""

    look: Look
    side: int
    backdrop: UInt8[np.ndarray, "height width 3"] | None = field(default=None, compare=False)
    backdrop_number: int = 0

    @property
    def sight(self) -> Sight:
        """What is shown, by which camera."""
        return sight_of(self.look)

    @property
    def plain(self) -> bool:
        """Whether a `Renderer` can draw it: the picture itself, by the tracked camera, with the usual code."""
        return self.look.kind == "image" and not self.leaves_track and self.look.code == 0

    @property
    def leaves_track(self) -> bool:
        """Whether it is seen by another camera than the tracked one."""
        return self.sight.moved or self.look.fov != 0

    @property
    def key(self) -> tuple[object, ...]:
        """Views with the same key share a renderer."""
        look = self.look
        return (self.side, look.background, look.colour, self.backdrop_number, look.max_steps, look.dt_gamma, tuple(look.aabb))


def check_look(avatar: Avatar, look: Look) -> Look:
    """The look, if the avatar can be shown so; R2TalkerError names the field that cannot be."""
    poses, codes = len(avatar.track.c2w), avatar.model.config.head.codes
    bounds: list[tuple[str, float, float, float]] = [
        ("size", look.size, 0, MOST_SIDE),
        ("pose", look.pose, -1, poses - 1),
        ("code", look.code, 0, codes - 1),
        ("fov", look.fov, 0, MOST_FOV),
        ("eye", look.eye, -1, 100),
        ("max_steps", look.max_steps, 1, MOST_STEPS),
        ("max_spp", look.max_spp, 1, MOST_SPP),
        ("dt_gamma", look.dt_gamma, 0, 0.1),
    ]
    _check(bounds)
    sight_of(look)
    if look.size % 2:
        raise R2TalkerError(f"look.size must be even, got {look.size}")
    if look.face == "clip" and not avatar.model.drives_landmarks:
        raise R2TalkerError("look.face must be 'spoken': this avatar hears sound itself, and its clip's is not kept")
    box = look.aabb
    if len(box) != 6 or not all(-1 <= low < high <= 1 for low, high in zip(box[:3], box[3:], strict=True)):
        raise R2TalkerError("look.aabb must be three minima and three larger maxima between -1 and 1")
    parse_colour(look.colour)
    return look


def sight_of(look: Look) -> Sight:
    """Kind and camera of a look; R2TalkerError names the field that cannot be."""
    turns = [
        ("pitch", look.pitch, 90),
        ("yaw", look.yaw, 180),
        ("zoom", look.zoom, 20),
        ("pan_x", look.pan_x, 2),
        ("pan_y", look.pan_y, 2),
    ]
    _check([(name, value, -most, most) for name, value, most in turns])
    return Sight(look.kind, look.yaw, look.pitch, look.pan_x, look.pan_y, look.zoom)


def _check(bounds: Iterable[tuple[str, float, float, float]]) -> None:
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise R2TalkerError(f"look.{name} must lie between {least:g} and {most:g}, got {value:g}")


def parse_colour(text: str) -> tuple[int, int, int]:
    """A colour such as #ffffff; R2TalkerError for anything else."""
    digits = text.removeprefix("#")
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise R2TalkerError(f"a colour must look like #ffffff, got {text[:20]!r}")
    value = int(digits, 16)
    return value >> 16, value >> 8 & 255, value & 255


class Drawer:
    """Draws frames of one avatar. Not to be used by two threads at once."""

    def __init__(self, avatar: Avatar, *, batch: int = 8) -> None:
        self.avatar, self.batch, self._planner = avatar, batch, avatar.planner
        self._renderers: OrderedDict[tuple[object, ...], Renderer] = OrderedDict()
        self._base = torch.tensor(avatar.info.landmark_base)

    @torch.no_grad()
    def draw(self, moved: Sequence[Moved], view: View) -> list[UInt8[np.ndarray, "side side 3"]]:
        """Pictures of at most `batch` frames under one view."""
        device = self.avatar.device
        codes = self.avatar.model.head.contract.encode(torch.stack([one.window for one in moved]).to(device))
        poses = torch.stack([one.c2w for one in moved]).to(device)
        eyes = self._planner.eyes_in_reach(torch.stack([one.eye for one in moved]).to(device))
        if view.plain:
            drawn = list(self._renderer(view).draw(codes, eyes, poses).cpu().numpy().copy())
        else:
            drawn = [self._draw_one(*one, view) for one in zip(codes, eyes, poses, strict=True)]
        if view.look.landmarks and self.avatar.model.drives_landmarks:
            for picture, one, pose in zip(drawn, moved, poses, strict=True):
                self._mark(picture, one, self._camera(pose, view))
        return drawn

    @torch.no_grad()
    def draw_jittered(self, moved: Moved, view: View, number: int) -> UInt8[np.ndarray, "side side 3"]:
        """One frame by rays that begin elsewhere within their pixels and steps, in another way for every `number`."""
        device = self.avatar.device
        code = self.avatar.model.head.contract.encode(moved.window[None].to(device))[0]
        pose = moved.c2w.to(device)
        picture = self._draw_one(code, self._planner.eyes_in_reach(moved.eye.to(device)), pose, view, number)
        if view.look.landmarks and self.avatar.model.drives_landmarks:
            self._mark(picture, moved, self._camera(pose, view))
        return picture

    def _renderer(self, view: View) -> Renderer:
        known = self._renderers.pop(view.key, None)
        if known is None:
            plate = torch.from_numpy(self._plate(view)).to(self.avatar.device)
            camera = self.avatar.camera(torch.eye(4, device=self.avatar.device), view.side)
            known = Renderer(self.avatar.model, self._settings(view.look), camera, plate, batch=self.batch)
        self._renderers[view.key] = known
        if len(self._renderers) > RENDERERS:
            self._renderers.popitem(last=False)
        return known

    def _settings(self, look: Look) -> RenderSettings:
        # Whoever turns these knobs wants to see what they do, so steps grow here.
        knobs = {"aabb": tuple(look.aabb), "max_steps": look.max_steps, "dt_gamma": look.dt_gamma, "step": "growing"}
        return replace(self.avatar.info.render, **knobs)  # type: ignore[arg-type]

    def _plate(self, view: View) -> UInt8[np.ndarray, "side side 3"]:
        plate = self.avatar.background
        if view.look.background == "colour":
            return np.broadcast_to(np.array(parse_colour(view.look.colour), np.uint8), (view.side, view.side, 3)).copy()
        if view.look.background == "picture" and view.backdrop is not None:
            plate = view.backdrop
        return cv2.resize(plate, (view.side, view.side), interpolation=cv2.INTER_AREA)

    def _draw_one(
        self, code: Tensor, eye: Tensor, pose: Tensor, view: View, jitter: int = 0
    ) -> UInt8[np.ndarray, "side side 3"]:
        model, settings = self.avatar.model, self._settings(view.look)
        plate = torch.from_numpy(self._plate(view)).to(self.avatar.device).float() / 255
        tracked, camera = self.avatar.camera(pose, view.side), self._camera(pose, view)
        behind = blend_board(model, tracked, camera if view.leaves_track else tracked, plate, settings)
        if jitter:
            camera = replace(camera, cx=camera.cx + _halton(jitter, 2) - 0.5, cy=camera.cy + _halton(jitter, 3) - 0.5)
            settings = replace(settings, aabb=_inset(settings.aabb, STEP * _halton(jitter, 5)))
        frame = FrameCode(code, eye, model.head.individual_codes[view.look.code])
        traced = render_rays(model.head, model.occupancy, generate_rays(camera), frame, behind.reshape(-1, 3), settings)
        return (show(traced, camera, view.look.kind) * 255).round().to(torch.uint8).cpu().numpy()

    def _camera(self, pose: Tensor, view: View) -> Camera:
        look = view.look
        camera = self.avatar.camera(orbit(pose, view.sight), view.side)
        if look.fov:
            focal = view.side / (2 * math.tan(math.radians(look.fov) / 2))
            camera = replace(camera, fx=focal, fy=focal)
        return camera

    def _mark(self, picture: UInt8[np.ndarray, "side side 3"], moved: Moved, camera: Camera) -> None:
        """Dots where the landmarks are that drive the face."""
        head = self._base + moved.values.cpu() / self.avatar.info.landmark_scale
        points = head[:, [1, 2, 0]] * SCENE_SCALE
        c2w = camera.c2w.cpu()
        seen = (points - c2w[:3, 3]) @ c2w[:3, :3]
        place = seen[:, :2] / seen[:, 2:] * camera.fx + camera.cx
        for x, y in place.floor().int().tolist():
            # OpenCV's smallest disk is five pixels, which would hide a small face.
            radius = camera.width // 160
            if radius:
                cv2.circle(picture, (x, y), radius, MARK, -1, cv2.LINE_AA)
            elif 0 <= x < camera.width and 0 <= y < camera.height:
                picture[y, x] = MARK


def _inset(box: tuple[float, ...], distance: float) -> tuple[float, float, float, float, float, float]:
    """A box whose walls have moved inwards, so that steps through it begin elsewhere; thin ones move less."""
    distance = min([distance, *(0.1 * (high - low) for low, high in zip(box[:3], box[3:], strict=True))])
    low, high = [wall + distance for wall in box[:3]], [wall - distance for wall in box[3:]]
    return low[0], low[1], low[2], high[0], high[1], high[2]


def _halton(number: int, base: int) -> float:
    """Element of the low-discrepancy sequence of that base (Halton 1960): the digits mirrored at the point."""
    value, share = 0.0, 1.0
    while number:
        share /= base
        number, digit = divmod(number, base)
        value += share * digit
    return value
