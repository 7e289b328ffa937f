"""What a finished run leaves: the trained networks with all that an avatar is beside them."""

import dataclasses
from typing import Any

from torch import Tensor

import r2talker
from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarInfo
from r2talker.compatibility import WindowEdge
from r2talker.data.dataset import Dataset, Pictures
from r2talker.data.sound import read_pcm
from r2talker.drive.life import Track
from r2talker.drive.log_mel import frame_loudness
from r2talker.drive.motion import MotionModel, advance_sound
from r2talker.model.talking_head import TalkingHead
from r2talker.render.config import RenderSettings
from r2talker.train.conditions import FEATURE


def make_avatar(
    model: TalkingHead,
    motion: MotionModel | None,
    dataset: Dataset,
    pictures: Pictures,
    edge: WindowEdge,
    provenance: dict[str, Any],
) -> Avatar:
    """The avatar of trained networks, which replays the dataset's training frames; provenance: where it comes from, for people."""
    info, device = dataset.info, pictures.background.device
    described = AvatarInfo(
        created_by=f"r2talker {r2talker.__version__}",
        method=model.method.name,
        size=pictures.size,
        focal=info.focal * pictures.size / info.size,
        model=model.config,
        render=RenderSettings(),
        landmark_scale=info.landmark_scale,
        landmark_base=info.landmark_base,
        statistics=info.statistics,
        motion=None if motion is None else motion.config,
        feature="" if model.drives_landmarks else FEATURE,
        window_edge=edge,
        provenance={"clip": dataclasses.asdict(info.source), "dataset": str(dataset.folder.root), **provenance},
    )
    frames, loudness = len(dataset.train), _loudness(dataset, motion)
    c2w, eye, shown = (values[:frames].to(device) for values in (dataset.c2w, dataset.eye, dataset.displacements))
    track = Track(c2w, eye, shown, None if loudness is None else loudness[:frames].to(device))
    plate = pictures.background.cpu().numpy()
    return Avatar(described, model.requires_grad_(False), track, plate, None if motion is None else motion.to(device).eval())


def _loudness(dataset: Dataset, motion: MotionModel | None) -> Tensor | None:
    """How loud the clip is in each frame, in step with the pictures; None for a clip without sound."""
    if not dataset.info.source.has_sound:
        return None
    sound = read_pcm(dataset.folder.audio)
    return frame_loudness(sound if motion is None else advance_sound(sound, int(motion.sound_lag)))
