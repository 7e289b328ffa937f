"""What films are compared with: the held-out frames of a dataset, or a video."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from r2talker.data.dataset import Dataset
from r2talker.data.foreign.pictures import read_truth
from r2talker.data.picture_files import decode
from r2talker.data.sound import RATE, read_pcm
from r2talker.errors import R2TalkerError
from r2talker.evaluate.areas import neck_band

FPS = 25.0
SAMPLES = round(RATE / FPS)
"""Samples of sound per frame."""

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Truth:
    """The reference. numbers: its frames, numbered as in the dataset or from the start of the video.

    pictures: RGB of these frames in order, all of one size. points: landmarks in pixels if the dataset knows them. neck: by frame
    number the band where head and torso meet, or None where nothing is known of it. sound: 16 kHz from the first frame on, None
    for a silent clip. left_out: frames whose content is not to be used; films are not scored there.
    """

    name: str
    height: int
    width: int
    numbers: range
    pictures: Callable[[], Iterator[Picture]]
    points: Float[np.ndarray, "frames 68 2"] | None
    neck: Callable[[int], Bool[np.ndarray, "height width"] | None]
    sound: Float[np.ndarray, " samples"] | None
    left_out: frozenset[int] = frozenset()


def held_out_truth(data: Dataset, name: str, most: int | None = None) -> Truth:
    """The held-out frames of a dataset over its clean background, `most` at most; R2TalkerError when it has none."""
    if not data.held_out:
        raise R2TalkerError(f"{data.folder.root} has no held-out frames; ingest a longer clip")
    numbers = data.held_out if most is None else data.held_out[:most]
    side = data.info.size

    def pictures() -> Iterator[Picture]:
        for frame in numbers:
            yield np.ascontiguousarray(read_truth(data.folder, data.numbers[frame])[..., ::-1])

    def neck(frame: int) -> Bool[np.ndarray, "height width"]:
        return neck_band(decode(data.folder.parsing(data.numbers[frame]), cv2.IMREAD_COLOR))

    has_sound = data.info.source.has_sound and data.folder.audio.exists()
    return Truth(
        name=name,
        height=side,
        width=side,
        numbers=numbers,
        pictures=pictures,
        points=data.pixels[numbers.start : numbers.stop].numpy(),
        neck=neck,
        sound=read_pcm(data.folder.audio).numpy()[numbers.start * SAMPLES :] if has_sound else None,
        left_out=frozenset(frame for frame in numbers if data.numbers[frame] != frame),
    )


def video_truth(path: Path, most: int | None = None) -> Truth:
    """A video at 25 frames per second, its first `most` frames at most."""
    from r2talker.media.read import probe_video, read_audio, read_video

    info = probe_video(path)

    def pictures() -> Iterator[Picture]:
        return islice(read_video(path, fps=FPS), most)

    return Truth(
        name=path.name,
        height=info.height,
        width=info.width,
        numbers=range(sum(1 for _ in pictures())),
        pictures=pictures,
        points=None,
        neck=lambda frame: None,
        sound=read_audio(path) if info.has_sound else None,
    )
