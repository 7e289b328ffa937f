"""A film against the truth, frame by frame, and its readings as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from r2talker.data.regions import Region
from r2talker.drive.sound_lag import FEWEST_FRAMES, SoundLag
from r2talker.errors import R2TalkerError
from r2talker.evaluate import faces
from r2talker.evaluate.areas import Areas, cut, find_areas
from r2talker.evaluate.faces import UNSEEN, FaceReader, LipTiming, Points
from r2talker.evaluate.films import Film
from r2talker.evaluate.measures import (
    Flicker,
    Maps,
    error_within,
    make_maps,
    psnr_in,
    sharpness_in,
    span,
    ssim_in,
)
from r2talker.evaluate.readings import COLUMNS, READINGS
from r2talker.evaluate.truth import FPS, SAMPLES, Truth
from r2talker.ops.lpips.network import SMALLEST, Lpips
from r2talker.progress import Progress

Picture = UInt8[np.ndarray, "height width 3"]

_QUALITY = 90


@dataclass(frozen=True)
class Tools:
    """What not every machine has: a face detector, the networks of LPIPS."""

    faces: FaceReader | None
    lpips: Lpips | None


@dataclass(frozen=True)
class TrueLook:
    """What was read off the truth once. points: landmarks from the detector, NaN where none. sound: how its own sound lies against
    its lips, None where that cannot be told. pictures: JPEGs by frame number."""

    points: Float[np.ndarray, "frames 68 3"]
    sound: SoundLag | None
    pictures: dict[int, bytes]


@dataclass(frozen=True)
class FilmScores:
    """name, kind: of the film. frames: how many were scored. columns: by COLUMNS, one value per frame of the truth, NaN where
    there is none. whole: by READINGS, NaN where not measured. pictures: JPEGs by frame number."""

    name: str
    kind: str
    frames: int
    columns: dict[str, Float[np.ndarray, " frames"]]
    whole: dict[str, float]
    timing: LipTiming | None
    sound: SoundLag | None
    areas: dict[int, Areas]
    pictures: dict[int, bytes]

    @property
    def label(self) -> str:
        """Name and kind, for people."""
        return f"{self.name}, {self.kind}"


def look_at_truth(truth: Truth, tools: Tools, progress: Progress) -> TrueLook:
    """Find the truth's faces, once for all films."""
    progress.begin("truth", len(truth.numbers))
    points, pictures = [], {}
    for done, (frame, picture) in enumerate(zip(truth.numbers, truth.pictures(), strict=True)):
        points.append(UNSEEN if tools.faces is None or frame in truth.left_out else tools.faces.read(picture))
        pictures[frame] = compress(picture)
        progress.advance(done + 1)
    progress.end(f"{len(points)} frames of {truth.name}")
    return TrueLook(np.stack(points), _time_sound(truth.sound, np.stack(points)), pictures)


def score_film(film: Film, truth: Truth, look: TrueLook, tools: Tools, progress: Progress) -> FilmScores:
    """Score the frames that film and truth have in common; R2TalkerError when there are none."""
    count, first = len(truth.numbers), truth.numbers.start
    columns = {key: np.full(count, np.nan) for key in COLUMNS}
    points = np.tile(UNSEEN, (count, 1, 1))
    places: dict[int, Areas] = {}
    pictures: dict[int, bytes] = {}
    flicker = Flicker()
    progress.begin(film.label, count)
    for frame, made, true in _side_by_side(film, truth):
        row = frame - first
        known = look.points[row, :, :2] if truth.points is None else truth.points[row]
        places[frame] = areas = find_areas(known, truth.height, truth.width)
        maps = make_maps(made, true)
        values = _picture_readings(maps, areas, truth.neck(frame)) | _lpips_readings(made, true, areas, tools.lpips)
        if tools.faces is not None:
            points[row] = tools.faces.read(made)
            values |= _face_readings(points[row], look.points[row], truth.height)
        for key, value in values.items():
            columns[key][row] = value
        if (trembling := flicker.push(frame, maps, areas.face)) is not None:
            middle, both = trembling
            columns["flicker"][middle - first], columns["flicker_true"][middle - first] = both.made, both.true
        pictures[frame] = compress(made)
        progress.advance(row + 1)
    if not pictures:
        last = truth.numbers.stop - 1
        raise R2TalkerError(f"{film.name} shows none of the frames {first} to {last} of {truth.name}; check --start")
    timing = faces.time_lips(columns["mouth_opening"], columns["mouth_opening_true"])
    sound = _time_sound(truth.sound if film.sound is None else film.sound, points)
    whole = _summarise(columns, timing, sound)
    progress.end(f"{len(pictures)} frames scored")
    return FilmScores(film.name, film.kind, len(pictures), columns, whole, timing, sound, places, pictures)


def compress(picture: Picture) -> bytes:
    """A JPEG for the report, so that long films fit into memory."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _side_by_side(film: Film, truth: Truth) -> Iterator[tuple[int, Picture, Picture]]:
    """Frames that both have and that may be used."""
    others = iter(zip(truth.numbers, truth.pictures(), strict=True))
    for frame, made in film.pictures():
        true = next(picture for number, picture in others if number == frame)
        if frame not in truth.left_out:
            yield frame, made, true


def _picture_readings(maps: Maps, areas: Areas, neck: Bool[np.ndarray, "height width"] | None) -> dict[str, float]:
    values = {}
    for name, region in areas.named().items():
        values[f"psnr_{name}"], values[f"ssim_{name}"] = psnr_in(maps, region), ssim_in(maps, region)
        if name != "picture":
            values[f"sharpness_{name}"] = sharpness_in(maps, region)
    if neck is not None:
        values["neck_error"] = error_within(maps, neck)
    return values


def _lpips_readings(made: Picture, true: Picture, areas: Areas, network: Lpips | None) -> dict[str, float]:
    if network is None:
        return {}
    from r2talker.ops.lpips.op import lpips

    values, device = {}, network.mean.device
    for name in ("picture", "face"):
        region: Region | None = getattr(areas, name)
        if region is None or min(region.bottom - region.top, region.right - region.left) < SMALLEST:
            continue
        pair = (torch.from_numpy(np.ascontiguousarray(cut(picture, region))).to(device)[None] / 255 for picture in (made, true))
        values[f"lpips_{name}"] = float(lpips(network, *pair))
    return values


def _face_readings(made: Points, true: Points, height: int) -> dict[str, float]:
    return {
        "lmd": faces.mouth_distance(made, true, height),
        "lmd_face": faces.face_distance(made, true, height),
        "mouth_opening": faces.mouth_opening(made, height),
        "mouth_opening_true": faces.mouth_opening(true, height),
        "eye_opening": faces.eye_opening(made, height),
        "eye_opening_true": faces.eye_opening(true, height),
    }


def _time_sound(samples: Float[np.ndarray, " samples"] | None, points: Float[np.ndarray, "frames 68 3"]) -> SoundLag | None:
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    if samples is None or len(seen) < FEWEST_FRAMES:
        return None
    part = slice(int(seen[0]), int(seen[-1]) + 1)
    heard = samples[part.start * SAMPLES :]
    if len(heard) < SAMPLES:
        # The sound is over before the first face is seen.
        return None
    lag = faces.time_sound(points[part], heard)
    return None if np.isnan(lag.late) else lag


def _summarise(
    columns: dict[str, Float[np.ndarray, " frames"]], timing: LipTiming | None, sound: SoundLag | None
) -> dict[str, float]:
    """Readings of the film: means over the frames that have a value, and those that need all frames at once."""
    whole = {each.key: _mean(columns[each.key]) if each.key in columns else float("nan") for each in READINGS}
    for key in ("mouth", "eye"):
        made, true = columns[f"{key}_opening"], columns[f"{key}_opening_true"]
        both = np.isfinite(made) & np.isfinite(true)
        reach = span(true[both])
        if both.sum() >= faces.FEWEST and reach > 0:
            whole[f"{key}_range"] = span(made[both]) / reach
    if timing is not None:
        whole["mouth_correlation"], whole["lip_lag"] = timing.correlation, timing.late
    if sound is not None:
        whole["sound_lag"] = sound.late * 1000 / FPS
    if whole["flicker"] >= 0 and _mean(columns["flicker_true"]) > 0:
        whole["flicker_ratio"] = whole["flicker"] / _mean(columns["flicker_true"])
    return whole


def _mean(values: Float[np.ndarray, " frames"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
