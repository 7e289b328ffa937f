"""An avatar on the held-out end of its dataset: pictures from the true landmarks, and landmarks from the true sound."""

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.regions import lips_region
from r2talker.data.sound import read_pcm
from r2talker.drive.driver import generate_landmarks
from r2talker.drive.motion import advance_sound
from r2talker.errors import R2TalkerError
from r2talker.evaluate.faces import mouth_distance, open_faces
from r2talker.evaluate.films import FULL, HEAD, TrueDrive
from r2talker.evaluate.metrics import psnr
from r2talker.evaluate.motion import correlation, lip_curves
from r2talker.files import write_bytes, write_json
from r2talker.ops.camera_rays.op import SCENE_SCALE
from r2talker.progress import Progress, Silent

MOST_FRAMES = 50
SHEET_COLUMNS = 8


class NothingHeldOutError(R2TalkerError):
    """The dataset has no held-out frame that may be looked at."""


@dataclass(frozen=True)
class HeldOutScores:
    """Means over the held-out frames looked at.

    psnr_head: dB, head over the true torso. psnr_full: dB, head over the avatar's torso. psnr_mouth: dB, `psnr_full` inside the lips'
    square. lmd: mouth landmark distance in pixels at 512 between rendering and truth as a face detector sees them, NaN without
    detector. motion_*: the landmark generator on the held-out sound against the tracked landmarks: error of the mouth points in
    pixels at 512 and correlation of the mouth's opening; NaN without generator.
    """

    frames: int
    psnr_head: float
    psnr_full: float
    psnr_mouth: float
    lmd: float
    motion_mouth_error: float
    motion_opening_correlation: float

    def summary(self) -> str:
        """The readings as lines for a person."""
        lines = [
            f"held-out PSNR over {self.frames} frames: {self.psnr_head:.2f} dB (head on true torso), "
            f"{self.psnr_full:.2f} dB (full frame), {self.psnr_mouth:.2f} dB (lips' square)",
        ]
        if not np.isnan(self.lmd):
            lines.append(f"mouth landmark error of the pictures: {self.lmd:.2f} px at 512")
        if not np.isnan(self.motion_mouth_error):
            lines.append(
                f"mouth landmark error from sound: {self.motion_mouth_error:.2f} px at 512, "
                f"opening correlates {self.motion_opening_correlation:.2f}"
            )
        return "\n".join(lines)


def evaluate_avatar(
    avatar: Path, dataset: Path, *, progress: Progress | None = None, device: str | None = None
) -> HeldOutScores:
    """Score an avatar on at most MOST_FRAMES held-out frames; writes evaluation.json and a contact sheet into its folder.

    Raises NothingHeldOutError where there are none, R2TalkerError for an avatar or a dataset that cannot be read.
    """
    progress = progress or Silent()
    data, loaded = read_dataset(dataset), Avatar.load(avatar, device=device)
    if not data.held_out:
        raise NothingHeldOutError(f"{dataset} has no held-out frames; ingest a longer clip")
    # Those that show another one's content would count that twice.
    frames = [frame for frame in data.held_out if data.numbers[frame] == frame]
    if not frames:
        raise NothingHeldOutError(
            f"all held-out frames of {dataset} are excluded; take some back with `r2talker ingest --exclude none`"
        )
    frames = frames[:: -(-len(frames) // MOST_FRAMES)]
    pictures = read_pictures(data, frames, size=loaded.info.size).to(loaded.device)
    drive = TrueDrive(loaded, data)
    progress.begin("evaluation", len(frames))
    rows, columns = [], []
    for count, frame in enumerate(frames):
        head, full = (drive.render(frame, pictures, kind) for kind in (HEAD, FULL))
        truth = pictures.truth[pictures.index[frame]].float() / 255
        rows.append(_readings(head, full, truth, data, pictures.size, frame))
        columns.append(torch.cat([truth, full], dim=0).cpu())
        progress.advance(count + 1)
    heads, fulls, mouths = (float(np.mean(column)) for column in zip(*rows, strict=True))
    generated = score_generator(loaded, data) or (float("nan"), float("nan"))
    scores = HeldOutScores(len(frames), heads, fulls, mouths, _lmd(columns), *generated)
    # JSON knows neither NaN nor infinity.
    write_json(
        avatar / "evaluation.json", {key: value if np.isfinite(value) else None for key, value in asdict(scores).items()}
    )
    _write_sheet(avatar / "evaluation.png", columns)
    progress.end(f"readings in {avatar / 'evaluation.json'}, truth above rendering in {avatar / 'evaluation.png'}")
    return scores


def _readings(head: Tensor, full: Tensor, truth: Tensor, data: Dataset, size: int, frame: int) -> tuple[float, float, float]:
    lips = lips_region(data.pixels[frame] * (size / data.info.size), size)
    box = (slice(lips.top, lips.bottom), slice(lips.left, lips.right))
    return psnr(head, truth), psnr(full, truth), psnr(full[box], truth[box])


def _lmd(columns: list[Float[Tensor, "two_heights width 3"]]) -> float:
    """Mouth distance between the upper (truth) and lower (rendering) halves; NaN without detector or when no pair has faces."""
    with open_faces() as reader:
        if reader is None:
            return float("nan")
        distances = []
        for column in columns:
            picture = (column.numpy() * 255).round().astype(np.uint8)
            size = picture.shape[1]
            distances.append(mouth_distance(reader.read(picture[size:]), reader.read(picture[:size]), size))
    known = [distance for distance in distances if np.isfinite(distance)]
    return float(np.mean(known)) if known else float("nan")


def score_generator(avatar: Avatar, data: Dataset) -> tuple[float, float] | None:
    """Mouth error in pixels at 512 and correlation of the opening, generated from the clip's sound, on all held-out frames.

    None for an avatar without a landmark generator, and a dataset without sound.
    """
    if avatar.motion is None or not (data.info.source.has_sound and data.folder.audio.exists()):
        return None
    samples = advance_sound(read_pcm(data.folder.audio), int(avatar.motion.sound_lag)).to(avatar.device)
    made = generate_landmarks(avatar.motion, samples).cpu()
    frames = slice(data.held_out.start, min(data.held_out.stop, len(made)))
    made, tracked = (data.rest + values[frames] / data.info.landmark_scale for values in (made, data.displacements))
    distance = data.c2w[frames, :3, 3].norm(dim=-1).mean() / SCENE_SCALE
    flat = (made - tracked)[:, 48:, :2].norm(dim=-1).mean()
    pixels = float(flat / distance * data.info.focal * (512 / data.info.size))
    return pixels, correlation(lip_curves(made).opening, lip_curves(tracked).opening)


def _write_sheet(path: Path, columns: list[Float[Tensor, "two_heights width 3"]]) -> None:
    """A contact sheet of some frames: truth above, rendering below."""
    chosen = columns[:: -(-len(columns) // SHEET_COLUMNS)]
    sheet = (torch.cat(chosen, dim=1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    write_bytes(path, cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))[1].tobytes())
