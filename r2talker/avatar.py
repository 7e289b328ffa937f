"""An avatar: what training leaves and everything else loads."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker import methods
from r2talker.avatar_format import (
    AvatarFolder,
    AvatarInfo,
    load_part,
    read_avatar_info,
    read_weights,
    write_avatar_info,
    write_weights,
)
from r2talker.device import choose_device
from r2talker.drive.life import Track
from r2talker.drive.motion import MotionModel
from r2talker.drive.poses import choose_frames
from r2talker.drive.smoothing import Memory
from r2talker.drive_plan import DriveArguments, DrivePlan, Planner, read_samples
from r2talker.errors import R2TalkerError
from r2talker.files import write_bytes
from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.progress import Progress, Silent
from r2talker.render.frame import render_frame
from r2talker.render.host import copy_to_host, lay_out, leaves_as_planes
from r2talker.render.renderer import Renderer
from r2talker.types import Camera, Frame

if TYPE_CHECKING:
    from typing_extensions import Unpack

Background: TypeAlias = UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None
"""A picture of any size, a colour, or None for the clip's clean plate."""
BATCH = 256
"""Windows encoded at once."""
GPU_BATCH = 8
"""Pictures drawn at once on a GPU; a CPU gains nothing from it and hands over every picture as it comes."""


@dataclass
class Avatar:
    """A talking head ready to render; `load` reads one, `render` yields its pictures, `render_video` writes them.

    track: what the clip's training frames did. background: the clip's clean plate, [H, W, 3] bytes. motion: sound to landmarks of this
    person, or None if never trained. replayed: the frames of the track that are replayed.
    """

    info: AvatarInfo
    model: TalkingHead
    track: Track
    background: UInt8[np.ndarray, "height width 3"]
    motion: MotionModel | None = None
    replayed: slice = field(default_factory=lambda: slice(None))

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> "Avatar":
        """Read an avatar folder; `device` defaults to CUDA when there is one. R2TalkerError says what is missing."""
        folder = AvatarFolder(Path(path))
        where = choose_device(device or "auto")
        info = read_avatar_info(folder)
        tensors = read_weights(folder, where)
        model = TalkingHead(info.model, methods.get(info.method)).to(where)
        load_part(model, "model", tensors, folder.weights)
        motion = None
        if info.motion is not None:
            motion = MotionModel(info.motion).to(where)
            load_part(motion, "motion", tensors, folder.weights)
            motion.eval()
        try:
            c2w, eye, displacements = (tensors[f"track.{name}"] for name in ("c2w", "eye", "displacements"))
            track = Track(c2w, eye, displacements, tensors.get("track.loudness"), tensors.get("track.features"))
        except KeyError as error:
            raise R2TalkerError(f"{folder.weights} has no tensor {error.args[0]}; copy the whole avatar again") from error
        plate = cv2.imread(str(folder.background), cv2.IMREAD_COLOR)
        if plate is None:
            raise R2TalkerError(f"cannot read {folder.background}; copy the whole avatar folder or train it again")
        return cls(info, model.eval().requires_grad_(False), track, np.ascontiguousarray(plate[..., ::-1]), motion)

    def save(self, path: str | Path) -> None:
        """Write the avatar folder; `avatar.json` comes last."""
        folder = AvatarFolder(Path(path))
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors.update({f"track.{name}": value for name, value in vars(self.track).items() if value is not None})
        if self.motion is not None:
            tensors.update({f"motion.{key}": value for key, value in self.motion.state_dict().items()})
        folder.info.unlink(missing_ok=True)
        write_weights(folder, tensors)
        plate = cv2.imencode(".png", np.ascontiguousarray(self.background[..., ::-1]))[1]
        write_bytes(folder.background, plate.tobytes())
        write_avatar_info(folder, self.info)

    @property
    def device(self) -> torch.device:
        """Where the avatar renders."""
        return self.track.c2w.device

    def within(self, first: int, last: int) -> "Avatar":
        """The same avatar replaying only frames `first` to `last` - 1 of its clip, to the end for -1; R2TalkerError if it has fewer."""
        return replace(self, replayed=choose_frames(len(self.track.c2w), first, last))

    @property
    def planner(self) -> Planner:
        """What decides how it moves."""
        return Planner(self.info, self.model.method.drive, self.track.part(self.replayed), self.track.eye, self.motion)

    def plan(self, **drive: "Unpack[DriveArguments]") -> DrivePlan:
        """Decide what moves every frame: `Planner.plan` says what may be given. R2TalkerError when the drive does not fit the method."""
        return self.planner.plan(**drive)

    def render(
        self,
        *,
        background: Background = None,
        size: int | None = None,
        **drive: "Unpack[DriveArguments]",
    ) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Yield 8-bit RGB pictures at 25 per second; size: side in pixels, by default that of training. drive: see `Planner.plan`."""
        plan = self.plan(**drive)
        for batch in self.render_batches(plan, background=background, size=size):
            yield from batch

    def render_batches(
        self,
        plan: DrivePlan,
        *,
        background: Background = None,
        size: int | None = None,
    ) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
        """Yield the 8-bit pictures of a plan, several at a time on a GPU, where copying them overlaps with drawing the next."""
        yield from copy_to_host(self._draw(plan, background, self._side(size)))

    def render_plan(
        self,
        plan: DrivePlan,
        *,
        background: Background = None,
        size: int | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames of a plan one by one, with alpha and depth; memory does not grow with their number."""
        side = self._side(size)
        plate = torch.from_numpy(self._plate(background, side)).to(self.device).float() / 255
        for start, codes in self._codes(plan):
            for index, code in enumerate(codes, start):
                frame = FrameCode(code, plan.eye[index], self.model.head.individual_codes[0])
                yield render_frame(self.model, self.camera(plan.c2w[index], side), frame, plate, self.info.render)

    def render_video(
        self,
        path: str | Path,
        *,
        background: Background = None,
        size: int | None = None,
        progress: Progress | None = None,
        **drive: "Unpack[DriveArguments]",
    ) -> int:
        """Write an H.264 video with the driving sound, and a poster picture beside it (same name, `.png`); returns the frame count.

        drive: see `Planner.plan`. R2TalkerError when it does not fit the method, or a file cannot be read or written.
        """
        from r2talker.media.threaded import ThreadedWriter
        from r2talker.media.write import VideoWriter, write_png

        samples = drive["audio"] = read_samples(drive.get("audio"))
        plan = self.plan(**drive)
        side, progress = self._side(size), progress or Silent()
        target = Path(path)
        progress.begin("render", len(plan.windows))
        drawn = self._draw(plan, background, side)
        poster = torch.empty(side, side, 3, dtype=torch.uint8, device=self.device)
        leaving = lay_out(_copying(drawn, len(plan.windows) // 2, poster), self.device)
        done = 0
        with ThreadedWriter(VideoWriter(target, width=side, height=side, audio=samples)) as writer:
            write = writer.write_planar if leaves_as_planes(self.device) else writer.write
            for batch in copy_to_host(leaving):
                write(batch)
                done += len(batch)
                progress.advance(done)
        write_png(target.with_suffix(".png"), poster.cpu().numpy())
        progress.end(f"{len(plan.windows)} frames in {target}, poster {target.with_suffix('.png')}")
        return len(plan.windows)

    def camera(self, c2w: Float[Tensor, "4 4"], size: int) -> Camera:
        """The clip's camera at a pose and picture size."""
        full = self.info.size
        return Camera(c2w, self.info.focal, self.info.focal, full / 2, full / 2, full, full).resized(size, size)

    def _codes(self, plan: DrivePlan) -> Iterator[tuple[int, Float[Tensor, "frames code"]]]:
        """Condition codes of a plan's frames, BATCH at a time, each with the number of its first frame."""
        contract, memory = self.model.head.contract, Memory(plan.memory)
        for start in range(0, len(plan.windows), BATCH):
            with torch.no_grad():
                codes = contract.code(memory.advance(contract.embed(plan.windows[start : start + BATCH])))
            yield start, codes

    def _draw(self, plan: DrivePlan, background: Background, side: int) -> Iterator[UInt8[Tensor, "batch side side 3"]]:
        """Pictures of a plan as they lie in the renderer's buffers."""
        plate = torch.from_numpy(self._plate(background, side)).to(self.device)
        batch = GPU_BATCH if self.device.type == "cuda" else 1
        renderer = Renderer(self.model, self.info.render, self.camera(torch.eye(4), side), plate, batch=batch)
        for start, codes in self._codes(plan):
            for first in range(0, len(codes), renderer.batch):
                some = codes[first : first + renderer.batch]
                frames = slice(start + first, start + first + len(some))
                yield renderer.draw(some, plan.eye[frames], plan.c2w[frames])

    def _side(self, size: int | None) -> int:
        if size is not None and size < 1:
            raise R2TalkerError(f"the size is the picture's side in pixels and must be positive, got {size}")
        return self.info.size if size is None else size

    def _plate(self, background: Background, side: int) -> UInt8[np.ndarray, "side side 3"]:
        plate = self.background if background is None else np.asarray(background)
        if plate.shape[-1:] != (3,) or plate.ndim not in (1, 3) or plate.size == 0 or plate.min() < 0 or plate.max() > 255:
            raise R2TalkerError(
                f"the background is a picture [height, width, 3] or a colour of three numbers from 0 to 255, got {list(plate.shape)}"
            )
        if plate.ndim == 1:
            return np.broadcast_to(plate.astype(np.uint8), (side, side, 3)).copy()
        return cv2.resize(plate.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)


def _copying(
    batches: Iterator[UInt8[Tensor, "batch side side 3"]], number: int, into: UInt8[Tensor, "side side 3"]
) -> Iterator[UInt8[Tensor, "batch side side 3"]]:
    """The batches as they come; picture `number` of them all is copied as it passes."""
    for batch in batches:
        if 0 <= number < len(batch):
            into.copy_(batch[number])
        number -= len(batch)
        yield batch
