"""Comparing films with the truth: an avatar and videos with a dataset's held-out frames, or videos with a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from r2talker.avatar import Avatar
from r2talker.data.dataset import read_dataset
from r2talker.data.folder import DatasetFolder
from r2talker.data.foreign.layout import is_foreign
from r2talker.device import choose_device
from r2talker.drive.sound_lag import FEWEST_FRAMES
from r2talker.errors import R2TalkerError
from r2talker.evaluate.comparison import Comparison, describe, tabulate
from r2talker.evaluate.config import CompareConfig
from r2talker.evaluate.faces import FEWEST, WEAKEST, open_faces
from r2talker.evaluate.films import Film, avatar_films, kept, open_film, with_distinct_labels
from r2talker.evaluate.held_out import score_generator
from r2talker.evaluate.report import draw_report
from r2talker.evaluate.scores import FilmScores, Tools, look_at_truth, score_film
from r2talker.evaluate.truth import Truth, held_out_truth, video_truth
from r2talker.files import write_bytes, write_json
from r2talker.ops.lpips.network import BACKBONE, LINEAR, load_lpips
from r2talker.progress import Progress, Silent


def compare_avatar(
    avatar: Path,
    dataset: Path,
    videos: Sequence[Path],
    output: Path,
    config: CompareConfig,
    *,
    film: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Score an avatar, and videos beside it, on the held-out frames of its dataset; writes three files into `output`.

    film: folder into which the avatar's pictures are written too, so that they can be scored on another machine.
    R2TalkerError names what is missing or does not fit.
    """
    data = read_dataset(dataset)
    truth = held_out_truth(data, dataset.name, config.frames)
    films = [_open(path, truth, config) for path in videos]
    loaded = Avatar.load(avatar, device=config.device)
    rendered = avatar_films(loaded, avatar.name, data, truth.numbers)
    if film is not None:
        rendered = [kept(each, film) for each in rendered]
    generator = score_generator(loaded, data)
    title = f"{avatar.name} on {dataset.name}"
    return _compare(title, truth, [*rendered, *films], output, config, progress or Silent(), generator)


def compare_videos(
    reference: Path, videos: Sequence[Path], output: Path, config: CompareConfig, *, progress: Progress | None = None
) -> Comparison:
    """Score videos against a dataset's held-out frames or against a video; writes three files into `output`.

    R2TalkerError names what is missing or does not fit.
    """
    if not videos:
        raise R2TalkerError(f"there is nothing to compare with {reference}; give one video or more after it")
    truth = _open_truth(reference, config.frames)
    films = [_open(path, truth, config) for path in videos]
    title = f"{films[0].name} against {truth.name}" if len(films) == 1 else f"{len(films)} films against {truth.name}"
    return _compare(title, truth, films, output, config, progress or Silent())


def _compare(
    title: str,
    truth: Truth,
    films: Sequence[Film],
    output: Path,
    config: CompareConfig,
    progress: Progress,
    generator: tuple[float, float] | None = None,
) -> Comparison:
    """Score films and write `readings.json`, `frames.csv` and `report.html` into `output`."""
    if output.exists() and not output.is_dir():
        raise R2TalkerError(f"{output} is a file, and the report is a folder; choose another name")
    network = None if config.model_dir is None else load_lpips(config.model_dir, choose_device(config.device))
    with open_faces() as faces:
        tools = Tools(faces, network)
        look = look_at_truth(truth, tools, progress)
        scored = [score_film(film, truth, look, tools, progress) for film in with_distinct_labels(films)]
    comparison = Comparison(title, truth, look, scored, _absent(truth, scored, tools), generator)
    write_json(output / "readings.json", describe(comparison))
    write_bytes(output / "frames.csv", tabulate(comparison).encode())
    write_bytes(output / "report.html", draw_report(comparison))
    return comparison


def _open_truth(path: Path, most: int | None) -> Truth:
    """The held-out frames of a dataset folder, or a video."""
    if not path.is_dir():
        return video_truth(path, most)
    if not DatasetFolder(path).info.exists() and not is_foreign(path):
        raise R2TalkerError(f"{path} is not a dataset; compare with a dataset folder or with a video")
    return held_out_truth(read_dataset(path), path.name, most)


def _open(path: Path, truth: Truth, config: CompareConfig) -> Film:
    if not path.exists():
        raise R2TalkerError(f"{path} does not exist; give a video, or a folder of pictures named by their frame's number")
    return open_film(path, truth, config.start)


def _absent(truth: Truth, films: Sequence[FilmScores], tools: Tools) -> list[str]:
    """What no film has a reading of, and why."""
    lines = []
    if tools.faces is None:
        lines.append("LMD, openings and lags of mouth and eyes: MediaPipe is not installed here; score the pictures elsewhere")
        if truth.points is None:
            lines.append("face box and mouth box: a video has no landmarks of its own, they too need MediaPipe")
    elif _nowhere(films, "lmd"):
        lines.append("LMD, openings and lags of mouth and eyes: the detector finds no face in both a film and the truth")
    elif _nowhere(films, "mouth_correlation"):
        lines.append(f"range, correlation and lag of the openings: they need {FEWEST} frames with a face")
    elif _nowhere(films, "lip_lag"):
        lines.append(f"lag of the lips: no film's mouth follows the truth's closely enough (correlation {WEAKEST:g}) to tell")
    if tools.faces is not None and _nowhere(films, "sound_lag"):
        why = "there is no sound" if truth.sound is None else f"it needs speech and {FEWEST_FRAMES} frames with a face"
        lines.append(f"lag of the sound: {why}")
    if tools.lpips is None:
        lines.append(f"LPIPS: it needs --model-dir with {BACKBONE} and {LINEAR}")
    if _nowhere(films, "neck_error"):
        lines.append("error at the neck's seam: only a dataset says where head and torso meet")
    return lines


def _nowhere(films: Sequence[FilmScores], key: str) -> bool:
    return all(np.isnan(film.whole[key]) for film in films)
