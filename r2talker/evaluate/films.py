"""What is scored: an avatar's renderings of the held-out frames, videos, and folders of pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.conditions import clip_sequence, window_conditions
from r2talker.data.dataset import Dataset, Pictures, read_pictures, torso_over_background
from r2talker.errors import R2TalkerError
from r2talker.evaluate.truth import FPS, SAMPLES, Truth
from r2talker.files import write_bytes
from r2talker.model.head import FrameCode
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.render.frame import render_frame
from r2talker.render.rays import render_rays

Picture = UInt8[np.ndarray, "height width 3"]
Kind = Literal["head on true torso", "full frame"]
HEAD: Kind = "head on true torso"
FULL: Kind = "full frame"
FOLDERS: dict[Kind, str] = {HEAD: "head", FULL: "full"}
"""Where `--film` puts the pictures of an avatar."""

_SUFFIXES = (".png", ".jpg", ".jpeg")
_CHUNK = 16


@dataclass(frozen=True)
class Film:
    """Something that claims to show the truth's frames. pictures: frame number and RGB picture, in order.

    sound: 16 kHz from the truth's first frame on, where it has its own.
    """

    name: str
    kind: Kind
    pictures: Callable[[], Iterator[tuple[int, Picture]]]
    sound: Float[np.ndarray, " samples"] | None = None

    @property
    def label(self) -> str:
        """Name and kind, for people."""
        return f"{self.name}, {self.kind}"


class TrueDrive:
    """An avatar driven by what is true of a dataset: landmarks (or features), eyes and pose of every frame.

    R2TalkerError for a dataset that lacks what drives the avatar.
    """

    def __init__(self, avatar: Avatar, data: Dataset) -> None:
        drive = avatar.model.method.drive
        sequence = clip_sequence(data, drive, avatar.info.feature)
        self._windows = window_conditions(sequence, drive, avatar.info.statistics, edge=avatar.info.window_edge)
        self._avatar, self._data, self._planner = avatar, data, avatar.planner

    @torch.no_grad()
    def render(self, frame: int, pictures: Pictures, kind: Kind) -> Float[Tensor, "side side 3"]:
        """One frame, colours in [0, 1], at the size of `pictures`, which have it: the head over the true torso, or all."""
        avatar, device, size = self._avatar, self._avatar.device, pictures.size
        head, settings = avatar.model.head, avatar.info.render
        condition = head.contract.encode(self._windows[frame : frame + 1].to(device))[0]
        eye = self._planner.eyes_in_reach(self._data.eye[frame].to(device))
        code = FrameCode(condition, eye, head.individual_codes[0])
        camera = avatar.camera(self._data.c2w[frame].to(device), size)
        if kind == FULL:
            return render_frame(avatar.model, camera, code, pictures.background.float() / 255, settings).rgb
        behind = torso_over_background(pictures.torso[pictures.index[frame]], pictures.background).reshape(-1, 3)
        rgb = render_rays(head, avatar.model.occupancy, generate_rays(camera), code, behind, settings).rgb
        return rgb.reshape(size, size, 3)


def avatar_films(avatar: Avatar, name: str, data: Dataset, numbers: range) -> list[Film]:
    """The avatar on the frames of a dataset, at the dataset's size: head on the true torso, and full frame."""
    drive = TrueDrive(avatar, data)

    def show(kind: Kind) -> Iterator[tuple[int, Picture]]:
        for start in range(0, len(numbers), _CHUNK):
            frames = numbers[start : start + _CHUNK]
            pictures = read_pictures(data, frames).to(avatar.device)
            for frame in frames:
                rgb = drive.render(frame, pictures, kind)
                yield frame, (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

    return [Film(name, HEAD, lambda: show(HEAD)), Film(name, FULL, lambda: show(FULL))]


def open_film(path: Path, truth: Truth, start: int | None = None) -> Film:
    """A video, or a folder of pictures named by their frame's number.

    start: the truth's frame that a video shows first, by default the truth's own first. Pictures are scaled to the truth's size.
    R2TalkerError for a path that holds neither.
    """
    if path.is_dir():
        kind = HEAD if path.name == FOLDERS[HEAD] else FULL
        name = path.parent.name if path.name in FOLDERS.values() else path.name
        return Film(name, kind, lambda: _numbered(path, truth))
    first = truth.numbers.start if start is None else start
    return Film(path.stem, FULL, lambda: _played(path, truth, first), _own_sound(path, truth, first))


def with_distinct_labels(films: Sequence[Film]) -> list[Film]:
    """The films, those called as one before them with a number behind their name."""
    distinct: list[Film] = []
    for film in films:
        labels, named, number = {other.label for other in distinct}, film, 2
        while named.label in labels:
            named, number = replace(film, name=f"{film.name} ({number})"), number + 1
        distinct.append(named)
    return distinct


def kept(film: Film, folder: Path) -> Film:
    """The same film, whose pictures are written into `folder` as they pass: `full/<frame>.png` or `head/<frame>.png`."""

    def pictures() -> Iterator[tuple[int, Picture]]:
        for frame, picture in film.pictures():
            content = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
            write_bytes(folder / FOLDERS[film.kind] / f"{frame}.png", content.tobytes())
            yield frame, picture

    return Film(film.name, film.kind, pictures, film.sound)


def _numbered(folder: Path, truth: Truth) -> Iterator[tuple[int, Picture]]:
    found = {int(path.stem): path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.stem.isdecimal()}
    if not found:
        raise R2TalkerError(f"{folder} holds no pictures named by their frame's number (such as 454.png); see docs/evaluate.md")
    for frame in truth.numbers:
        if frame in found:
            picture = cv2.imread(str(found[frame]), cv2.IMREAD_COLOR)
            if picture is None:
                raise R2TalkerError(f"{found[frame]} is not a picture; write it again")
            yield frame, _fitted(picture[..., ::-1], truth)


def _played(path: Path, truth: Truth, first: int) -> Iterator[tuple[int, Picture]]:
    from r2talker.media.read import read_video

    for frame, picture in enumerate(read_video(path, fps=FPS), first):
        if frame >= truth.numbers.stop:
            return
        if frame >= truth.numbers.start:
            yield frame, _fitted(picture, truth)


def _own_sound(path: Path, truth: Truth, first: int) -> Float[np.ndarray, " samples"] | None:
    """Sound of a video from the truth's first frame on."""
    from r2talker.media.read import probe_video, read_audio

    if not probe_video(path).has_sound:
        return None
    samples, shift = read_audio(path), (truth.numbers.start - first) * SAMPLES
    return samples[shift:] if shift >= 0 else np.concatenate([np.zeros(-shift, samples.dtype), samples])


def _fitted(picture: Picture, truth: Truth) -> Picture:
    """Scaled to the truth's size."""
    height, width = picture.shape[:2]
    if (height, width) == (truth.height, truth.width):
        return np.ascontiguousarray(picture)
    smaller = height * width > truth.height * truth.width
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), (truth.width, truth.height), interpolation=interpolation)
