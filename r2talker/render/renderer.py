"""Pictures of one model through one camera, several at a time, as the bytes that an encoder wants.

Fused kernels draw them where they can run, plain torch elsewhere.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.render.config import RenderSettings
from r2talker.render.frame import render_frame
from r2talker.render.fused import FusedDrawing, fused_runs
from r2talker.types import Camera

RING = 2
"""Buffers that take turns: one is read while the next is drawn into."""


class Renderer:
    """Draws batches of at most `batch` frames: head over torso over background, without alpha and depth.

    camera: intrinsics and size; its pose is not used. background: [H, W, 3] bytes at the camera's size, on the model's device.
    Raises ValueError when the background does not fit.
    """

    def __init__(
        self,
        model: TalkingHead,
        settings: RenderSettings,
        camera: Camera,
        background: UInt8[Tensor, "height width 3"],
        *,
        batch: int = 8,
    ) -> None:
        if background.dtype != torch.uint8 or background.shape != (camera.height, camera.width, 3):
            raise ValueError(
                f"Renderer: the background must be uint8 [{camera.height}, {camera.width}, 3], "
                f"got {background.dtype} {list(background.shape)}"
            )
        if batch < 1:
            raise ValueError(f"Renderer: batch must be at least 1, got {batch}")
        self.model, self.settings, self.camera, self.batch = model, settings, camera, batch
        self._plate = background.float() / 255
        self._ring = [background.new_empty(batch, *background.shape) for _ in range(RING)]
        self._turn = 0
        fused = fused_runs(model, background.device)
        self._fused = FusedDrawing(model, settings, camera, background, self._ring) if fused else None

    @torch.no_grad()
    def draw(
        self, codes: Float[Tensor, "batch code"], eye: Float[Tensor, " batch"], c2w: Float[Tensor, "batch 4 4"]
    ) -> UInt8[Tensor, "batch height width 3"]:
        """Pictures of frames given by condition codes, eye values and poses (camera-to-world, NGP space).

        Returns a view into a ring of buffers on the model's device, valid until the next but one `draw`.
        Raises ValueError when the numbers of codes, eye values and poses differ or exceed `batch`.
        """
        count = len(codes)
        if not len(eye) == len(c2w) == count <= self.batch:
            raise ValueError(
                f"Renderer: expected as many eye values and poses as codes, at most {self.batch}, "
                f"got {len(eye)}, {len(c2w)} and {count}"
            )
        turn, self._turn = self._turn, (self._turn + 1) % RING
        if self._fused is not None:
            return self._fused.draw(turn, codes, eye, c2w)
        drawn = self._ring[turn][:count]
        for index in range(count):
            frame = FrameCode(codes[index], eye[index], self.model.head.individual_codes[0])
            picture = render_frame(self.model, replace(self.camera, c2w=c2w[index]), frame, self._plate, self.settings)
            drawn[index] = (picture.rgb * 255).round()
        return drawn

    @property
    def evaluated_samples(self) -> float | None:
        """Samples per frame at which the last full batch evaluated the networks; None when plain torch draws. Waits for the device."""
        return None if self._fused is None else self._fused.evaluated_samples()
