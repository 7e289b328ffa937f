"""Films of known quality against a dataset and against a video: readings, tables, report, and what is said to be absent."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from r2talker.avatar import Avatar
from r2talker.data.folder import DatasetFolder, read_info, write_info
from r2talker.errors import R2TalkerError
from r2talker.evaluate.config import CompareConfig
from r2talker.evaluate.readings import COLUMNS, READINGS
from r2talker.evaluate.run import compare_avatar, compare_videos
from r2talker.media.read import read_video
from r2talker.media.write import VideoWriter
from r2talker.ops.lpips.network import CHANNELS, Lpips
from tests.report.page import Page
from tests.tiny import CLIP_SIZE, FRAMES, SIZE, TRAIN_FRAMES, Recorder
from tests.tolerances import assert_close

HELD_OUT = range(TRAIN_FRAMES, FRAMES)
NEEDS_FACES = {"lmd", "lmd_face", "mouth_range", "eye_range", "mouth_correlation", "lip_lag", "sound_lag"}


def truth_of(dataset: DatasetFolder, frame: int) -> np.ndarray:
    return cv2.imread(str(dataset.ground_truth(frame)))[..., ::-1]


def write_pictures(folder: Path, pictures: dict[int, np.ndarray]) -> Path:
    folder.mkdir()
    for frame, picture in pictures.items():
        cv2.imwrite(str(folder / f"{frame}.png"), picture[..., ::-1])
    return folder


def write_film(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Without loss worth speaking of."""
    with VideoWriter(path, width=pictures[0].shape[1], height=pictures[0].shape[0], quality=1) as writer:
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture))
    return path


@pytest.fixture(scope="module")
def perfect(dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out frames themselves."""
    folder = tmp_path_factory.mktemp("films") / "perfect"
    return write_pictures(folder, {frame: truth_of(dataset, frame) for frame in HELD_OUT})


@pytest.fixture(scope="module")
def moving(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """The clip's pictures, so many frames late."""
    pictures, root = list(read_video(clip)), tmp_path_factory.mktemp("late")

    def make(name: str, late: int) -> Path:
        return write_film(root / f"{name}.mp4", [pictures[0]] * late + pictures[: len(pictures) - late])

    return make


def strict(path: Path) -> dict[str, object]:
    """JSON as everybody else reads it."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    content: dict[str, object] = json.loads(path.read_text(), parse_constant=refuse)
    return content


@pytest.fixture
def without_mediapipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)


def test_the_truth_against_itself(dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
    (film,) = compare_videos(dataset.root, [perfect], tmp_path, CompareConfig()).films
    assert (film.label, film.frames) == ("perfect, full frame", len(HELD_OUT))
    for key in ("psnr_picture", "psnr_face", "psnr_mouth"):
        assert film.whole[key] == 100
    for key in ("ssim_picture", "ssim_face", "ssim_mouth", "sharpness_face", "sharpness_mouth"):
        assert film.whole[key] == pytest.approx(1, abs=1e-6)
    for key in ("lmd", "lmd_face", "neck_error"):
        assert film.whole[key] == 0
    assert film.whole["flicker"] > 0
    assert film.whole["flicker_ratio"] == 1


def test_an_error_in_the_mouth_shows_where_the_mouth_is(dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
    points = np.loadtxt(dataset.landmarks(HELD_OUT[2]))[48:].round().astype(int)
    picture = truth_of(dataset, HELD_OUT[2]).copy()
    (left, top), (right, bottom) = points.min(0), points.max(0)
    picture[top:bottom, left:right] //= 2
    film = write_pictures(tmp_path / "one", {frame: truth_of(dataset, frame) for frame in HELD_OUT} | {HELD_OUT[2]: picture})
    comparison = compare_videos(dataset.root, [perfect, film], tmp_path / "out", CompareConfig())
    columns = comparison.films[1].columns
    assert columns["psnr_mouth"][2] < columns["psnr_face"][2] < columns["psnr_picture"][2] < 100
    assert np.delete(columns["psnr_mouth"], 2).tolist() == [100] * (len(HELD_OUT) - 1)
    with (tmp_path / "out" / "frames.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["film"], int(row["frame"])) for row in rows] == [(name, k) for name in ("perfect", "one") for k in HELD_OUT]
    assert list(rows[0]) == ["film", "kind", "frame", "seconds", *COLUMNS]
    worst = min(rows, key=lambda row: float(row["psnr_mouth"]))
    assert (worst["film"], worst["frame"], worst["seconds"]) == ("one", str(HELD_OUT[2]), f"{HELD_OUT[2] / 25:.2f}")
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(rf"Worst frames</h3>.*?<figcaption>frame {HELD_OUT[2]} ", page[page.index("<h2>one, full frame") :])


def test_an_avatar_and_what_it_leaves(dataset: DatasetFolder, avatar: Avatar, perfect: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "a&b.avatar", tmp_path / "out"
    avatar.save(folder)
    recorder = Recorder()
    comparison = compare_avatar(
        folder, dataset.root, [perfect], out, CompareConfig(device="cpu"), film=tmp_path / "film", progress=recorder
    )
    head, full, other = comparison.films
    assert [film.label for film in comparison.films] == [
        "a&b.avatar, head on true torso", "a&b.avatar, full frame", "perfect, full frame",
    ]  # fmt: skip
    assert [name for name, *_ in recorder.begun] == ["truth", *(film.label for film in comparison.films)]
    assert 8 < full.whole["psnr_picture"] < head.whole["psnr_picture"] < 45
    assert other.whole["psnr_picture"] == 100
    assert comparison.generator is not None
    assert "landmarks generated from the sound" in comparison.summary()
    written = strict(out / "readings.json")
    assert isinstance(written["films"], list)
    assert [set(film["readings"]) for film in written["films"]] == [{reading.key for reading in READINGS}] * 3
    assert written["films"][1]["readings"]["psnr_picture"] == pytest.approx(full.whole["psnr_picture"], abs=1e-5)
    assert written["films"][1]["readings"]["lpips_picture"] is None

    # The film that was written, scored without the avatar, says the same.
    again = compare_videos(dataset.root, [tmp_path / "film" / kind for kind in ("head", "full")], out, CompareConfig())
    assert [film.label for film in again.films] == ["film, head on true torso", "film, full frame"]
    for before, after in zip((head, full), again.films, strict=True):
        for reading in READINGS:
            assert_close(after.whole[reading.key], before.whole[reading.key], "readings through a film")


def test_the_report_is_one_file_that_asks_for_nothing(
    dataset: DatasetFolder, avatar: Avatar, perfect: Path, tmp_path: Path
) -> None:
    folder, output = tmp_path / "<b>&c.avatar", tmp_path / "out"
    avatar.save(folder)
    compare_avatar(folder, dataset.root, [perfect], output, CompareConfig(device="cpu"))
    text = (output / "report.html").read_text()
    page = Page(text)
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert not re.search(r"https?://|@import|fetch\(|XMLHttp|url\(", text)
    assert "<b>&c" not in text
    assert 'data-first="54"' in text
    shown = " ".join(page.text)
    for words in (
        "<b>&c.avatar on subject.dataset", "head on true torso", "full frame", "PSNR, mouth box", "Beside the truth", "Worst frames",
        "Best frames", "Worst mouths", "Curves", "Not measured", "Error at the neck's seam",
    ):  # fmt: skip
        assert words in shown
    for drawing in re.findall(r"<svg.*?</svg>", text):
        assert "nan" not in drawing
    # Of two full frames the better one is marked, and the only head is not.
    row = re.search(r"<tr><td>PSNR, whole picture.*?</tr>", text)
    assert row is not None
    assert re.findall(r"<td class=\"figure\">(<b>)?", row.group()) == ["", "", "<b>"]


def test_videos_are_placed_by_their_first_frame(
    dataset: DatasetFolder, clip: Path, moving: Callable[[str, int], Path], tmp_path: Path
) -> None:
    """The whole clip begins with frame 0; said to begin with the first held-out frame it shows other pictures."""
    film = moving("still in time", 0)
    (right,) = compare_videos(dataset.root, [film], tmp_path, CompareConfig(start=0)).films
    (wrong,) = compare_videos(dataset.root, [film], tmp_path, CompareConfig()).films
    assert right.frames == wrong.frames == len(HELD_OUT)
    assert right.whole["psnr_picture"] > wrong.whole["psnr_picture"] + 3
    (last,) = compare_videos(dataset.root, [film], tmp_path, CompareConfig(start=FRAMES - 2)).films
    assert last.frames == 2
    assert np.isnan(last.columns["psnr_picture"][:-2]).all()
    with pytest.raises(R2TalkerError, match=f"shows none of the frames {HELD_OUT[0]} to {HELD_OUT[-1]}.*check --start"):
        compare_videos(dataset.root, [film], tmp_path, CompareConfig(start=FRAMES))


def test_a_video_against_a_video(clip: Path, moving: Callable[[str, int], Path], tmp_path: Path) -> None:
    config = CompareConfig(frames=40)
    comparison = compare_videos(clip, [moving("same", 0), moving("late", 2)], tmp_path, config)
    same, late = comparison.films
    assert comparison.truth.numbers == range(40)
    assert same.frames == late.frames == 40
    assert same.whole["psnr_face"] > late.whole["psnr_face"] + 3
    assert same.whole["mouth_correlation"] > 0.9 > late.whole["mouth_correlation"]
    assert same.whole["mouth_range"] == pytest.approx(1, abs=0.1)
    assert abs(same.whole["lip_lag"]) < 20
    assert late.whole["lip_lag"] == pytest.approx(80, abs=30)
    assert np.isnan(same.whole["neck_error"])
    assert any("neck's seam: only a dataset" in line for line in comparison.absent)


def test_other_sizes_are_scaled_to_the_truth(clip: Path, tmp_path: Path) -> None:
    pictures = [cv2.resize(p, (200, 150), interpolation=cv2.INTER_AREA) for p in list(read_video(clip))[:6]]
    film = write_film(tmp_path / "wide.mp4", pictures)
    (scored,) = compare_videos(clip, [film], tmp_path / "out", CompareConfig(frames=6)).films
    assert scored.frames == 6
    assert scored.whole["psnr_picture"] > 25
    assert strict(tmp_path / "out" / "readings.json")["truth"]["width"] == CLIP_SIZE  # type: ignore[index]


def test_films_of_one_name_are_told_apart(dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
    comparison = compare_videos(dataset.root, [perfect, perfect, perfect], tmp_path, CompareConfig(frames=1))
    assert [film.name for film in comparison.films] == ["perfect", "perfect (2)", "perfect (3)"]


def test_excluded_frames_are_not_scored(dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "c.dataset"))
    write_info(copy, replace(read_info(copy), excluded=[HELD_OUT[1]]))
    comparison = compare_videos(copy.root, [perfect], tmp_path / "out", CompareConfig())
    (film,) = comparison.films
    assert film.frames == len(HELD_OUT) - 1
    assert np.isnan(film.columns["psnr_picture"]).tolist() == [frame == HELD_OUT[1] for frame in HELD_OUT]
    assert film.whole["psnr_picture"] == 100
    assert 'class="out"' in (tmp_path / "out" / "report.html").read_text()
    assert strict(tmp_path / "out" / "readings.json")["truth"]["left_out"] == [HELD_OUT[1]]  # type: ignore[index]


@pytest.mark.usefixtures("without_mediapipe")
class TestWithoutMediaPipe:
    def test_a_dataset_still_has_its_boxes(self, dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
        comparison = compare_videos(dataset.root, [perfect], tmp_path, CompareConfig())
        whole = comparison.films[0].whole
        missing = {key for key, value in whole.items() if np.isnan(value)}
        assert missing == NEEDS_FACES | {"lpips_picture", "lpips_face"}
        assert [line for line in comparison.absent if "MediaPipe is not installed here" in line] == comparison.absent[:1]
        assert "absent: LMD" in comparison.summary()
        assert "MediaPipe is not installed" in (tmp_path / "report.html").read_text()

    def test_a_video_has_none(self, clip: Path, moving: Callable[[str, int], Path], tmp_path: Path) -> None:
        comparison = compare_videos(clip, [moving("plain", 0)], tmp_path, CompareConfig(frames=5))
        whole = comparison.films[0].whole
        assert {key for key, value in whole.items() if not np.isnan(value)} == {"psnr_picture", "ssim_picture"}
        assert any("a video has no landmarks of its own" in line for line in comparison.absent)


def test_lpips_with_the_users_weights(dataset: DatasetFolder, perfect: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, models = Lpips(), tmp_path / "models"
    models.mkdir()
    numbers = zip((0, 3, 6, 8, 10), network.convolutions, strict=True)
    backbone = {f"features.{k}.{name}": value for k, layer in numbers for name, value in layer.named_parameters()}
    torch.save(backbone, models / "alexnet.pth")
    torch.save({f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(CHANNELS)}, models / "alex.pth")
    soft = {frame: cv2.GaussianBlur(truth_of(dataset, frame), (0, 0), 2) for frame in HELD_OUT}
    film = write_pictures(tmp_path / "soft", soft)
    config = CompareConfig(model_dir=models)
    same, blurred = compare_videos(dataset.root, [perfect, film], tmp_path / "out", config).films
    for key in ("lpips_picture", "lpips_face"):
        assert same.whole[key] == 0
        assert blurred.whole[key] > 1e-3
    assert blurred.whole["sharpness_face"] < 0.3
    with pytest.raises(R2TalkerError, match=r"holds neither alexnet\*.pth nor \*alex.pth; LPIPS needs a folder with both"):
        compare_videos(dataset.root, [perfect], tmp_path / "out", CompareConfig(model_dir=tmp_path / "nowhere"))


def test_what_cannot_be_compared(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for reference, videos, words in (
        (dataset.root, [], "nothing to compare"),
        (dataset.root, [tmp_path / "none.mp4"], "none.mp4 does not exist; give a video, or a folder"),
        (dataset.root, [tmp_path / "empty"], r"holds no pictures named by their frame's number \(such as 454.png\)"),
        (tmp_path / "empty", [clip], "is not a dataset; compare with a dataset folder or with a video"),
        (tmp_path / "none.mp4", [clip], "none.mp4 does not exist"),
    ):
        with pytest.raises(R2TalkerError, match=words):
            compare_videos(reference, videos, tmp_path / "out", CompareConfig())
    assert not (tmp_path / "out").exists()
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "all.dataset"))
    write_info(copy, replace(read_info(copy), train_frames=FRAMES))
    with pytest.raises(R2TalkerError, match=r"all\.dataset has no held-out frames; ingest a longer clip"):
        compare_videos(copy.root, [clip], tmp_path / "out", CompareConfig())
    assert read_info(dataset).size == SIZE
