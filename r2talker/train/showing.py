"""Held-out frames beside what the model makes of them, for people to look at; nothing is trained on them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.data.dataset import Dataset, Pictures
from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.render.config import RenderSettings
from r2talker.render.frame import render_frame
from r2talker.render.rays import render_rays
from r2talker.render.sight import Sight, orbit, show
from r2talker.train.conditions import Conditions

MOST_SHOWN = 4
"""Held-out frames that are shown."""


def shown_frames(dataset: Dataset) -> list[int]:
    """The first held-out frame, and others evenly spaced over the split; the first of all where nothing is held out."""
    frames = dataset.held_out or dataset.train[:1]
    return [frames[k * len(frames) // min(MOST_SHOWN, len(frames))] for k in range(min(MOST_SHOWN, len(frames)))]


@dataclass(frozen=True)
class Pair:
    """A frame, its picture, and the model's of it: head over torso over background."""

    frame: int
    truth: Float[Tensor, "height width 3"]
    made: Float[Tensor, "height width 3"]


@dataclass(frozen=True)
class Showing:
    """What is needed to show the model; `pictures` has the frames to be shown."""

    model: TalkingHead
    dataset: Dataset
    pictures: Pictures
    conditions: Conditions

    @torch.no_grad()
    def pairs(self, most: int = MOST_SHOWN) -> list[Pair]:
        """The first shown frames, from their true landmarks (or features) and their true poses."""
        pictures, size = self.pictures, self.pictures.size
        plate, pairs = pictures.background.float() / 255, []
        for frame in shown_frames(self.dataset)[:most]:
            made = render_frame(self.model, self.dataset.camera(frame, size), self._code(frame), plate, RenderSettings()).rgb
            pairs.append(Pair(frame, pictures.truth[pictures.index[frame]].float() / 255, made))
        return pairs

    @torch.no_grad()
    def view(self, sight: Sight) -> Float[Tensor, "size size 3"]:
        """The head of the first shown frame over the background, by any camera and of any kind; the torso, a picture, is left out."""
        frame, head, size = shown_frames(self.dataset)[0], self.model.head, self.pictures.size
        tracked = self.dataset.camera(frame, size)
        camera = replace(tracked, c2w=orbit(tracked.c2w, sight))
        behind = (self.pictures.background.float() / 255).reshape(-1, 3)
        traced = render_rays(head, self.model.occupancy, generate_rays(camera), self._code(frame), behind, RenderSettings())
        return show(traced, camera, sight.kind)

    def _code(self, frame: int) -> FrameCode:
        """As pictures of the avatar take it: with the first frame's individual code."""
        head = self.model.head
        condition = head.contract.encode(self.conditions.windows[frame : frame + 1])[0]
        return FrameCode(condition, self.conditions.eye[frame], head.individual_codes[0])
