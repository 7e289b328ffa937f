"""Every kind of fault is found in the pictures that have it, and in no others."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pictures import read_rgb, write_jpeg
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.report.findings import Clip, Finding, find_blinks, find_faults, runs, worst_frames
from r2talker.ingest.report.inspection import read_findings
from r2talker.ingest.report.signals import Signals, bridge_gaps, face_sharpness, has_hand
from r2talker.ingest.step import Workspace
from tests.tiny import SIZE

FRAMES = 750


@pytest.fixture
def good() -> Signals:
    """Half a minute of somebody who does everything right: talks, blinks every three seconds, moves a little."""
    time = np.arange(FRAMES)
    rng = np.random.default_rng(0)
    eye = np.where(time % 75 < 4, 0.05, 0.3) + 0.01 * rng.random(FRAMES)
    return Signals(
        sharpness=1 + 0.1 * rng.standard_normal(FRAMES).clip(-2, 2),
        change=1 + rng.random(FRAMES),
        jump=0.01 * rng.random(FRAMES),
        margin=np.full(FRAMES, 0.15),
        strangers=np.zeros(FRAMES, bool),
        hands=np.zeros(FRAMES, bool),
        seen=np.ones(FRAMES, bool),
        residual=0.7 + 0.3 * rng.random(FRAMES),
        angles=np.zeros((FRAMES, 3)),
        position=np.zeros((FRAMES, 3)),
        eye=eye,
        gaze=np.zeros((FRAMES, 2)),
        lids=np.full((FRAMES, 2), 0.4),
        mouth=8 + 6 * np.sin(time / 4),
    )


def put(values: np.ndarray, frames: list[int], value: float | bool) -> np.ndarray:
    changed = values.copy()
    changed[frames] = value
    return changed


def test_a_good_clip_has_no_warnings(good: Signals) -> None:
    assert find_faults(Clip(good, True, 0)) == []


@pytest.mark.parametrize(
    ("kind", "signal", "frames", "value"),
    [
        ("blurred", "sharpness", [40, 41, 300], 0.4),
        ("cut", "change", [200], 60.0),
        ("cut", "jump", [200], 0.5),
        ("second face", "strangers", [10, 11, 12], True),
        ("hand", "hands", [500, 501], True),
        ("face leaves the picture", "margin", [0, 1, 2], -0.03),
        ("face not found", "seen", [600, 601], False),
        ("unsure pose", "residual", [33], 9.0),
    ],
)
def test_pictures_with_a_fault_are_named(good: Signals, kind: str, signal: str, frames: list[int], value: float) -> None:
    bad = replace(good, **{signal: put(getattr(good, signal), frames, value)})
    (finding,) = find_faults(Clip(bad, True, 0))
    assert (finding.kind, finding.frames) == (kind, frames)
    assert len(finding.badness) == len(frames)
    assert min(finding.badness) > 1
    assert f"{len(frames)} picture" in finding.what
    assert finding.advice.endswith(".")
    assert worst_frames([finding], FRAMES) == frames


def test_faults_of_the_whole_clip(good: Signals) -> None:
    staring = replace(good, eye=np.full(FRAMES, 0.3))
    gaping = replace(good, mouth=good.mouth + 8)
    short = Signals(**{name: value[:100] for name, value in vars(good).items()})
    for clip, kind in (
        (Clip(staring, True, 0), "no blinks"),
        (Clip(gaping, True, 0), "mouth never closes"),
        (Clip(short, True, 0), "too short"),
        (Clip(good, False, 0), "no sound"),
        (Clip(good, True, -2), "sound out of step"),
    ):
        (finding,) = find_faults(clip)
        assert finding.kind == kind
        assert worst_frames([finding], FRAMES) == []


def test_five_seconds_without_a_blink_are_nothing_unusual(good: Signals) -> None:
    short = replace(Signals(**{name: value[:125] for name, value in vars(good).items()}), eye=np.full(125, 0.3))
    assert [finding.kind for finding in find_faults(Clip(short, True, 0))] == ["too short"]


def test_blinks_are_counted_once_and_where_they_are_deepest(good: Signals) -> None:
    assert len(find_blinks(good.eye)) == FRAMES / 75
    assert find_blinks(np.array([1, 1, 0.4, 0.1, 0.3, 1, 1, 1, 0.2, 1])) == [3, 8]


def test_runs() -> None:
    assert runs(np.array([True, True, False, False, True])) == [(0, 2), (4, 5)]
    assert runs(np.zeros(3, bool)) == []


def test_an_ear_is_no_hand() -> None:
    hand = np.stack(np.meshgrid(np.linspace(0, 1, 3), np.linspace(0, 1, 7)), -1).reshape(1, 21, 2).astype(np.float32)
    assert has_hand(100 + 60 * hand, 256, 100)
    assert not has_hand(100 + 40 * hand, 256, 100)
    assert not has_hand(240 + 60 * hand, 256, 100)  # hardly in the picture
    assert has_hand(np.concatenate([100 + 5 * hand, 100 + 90 * hand]), 256, 100)
    assert not has_hand(np.zeros((0, 21, 2), np.float32), 256, 100)


def test_finders_may_blink() -> None:
    found = np.zeros(40, bool)
    found[[3, 5, 10, 20, 26]] = True
    assert np.flatnonzero(bridge_gaps(found)).tolist() == [*range(3, 11), 20, 26]


def test_blurred_pictures_and_a_cut_are_found_in_a_clip(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy"))
    for frame in range(60):
        rgb = np.ascontiguousarray(read_rgb(copy.frame(frame)))
        if frame in (20, 21, 22):
            write_jpeg(copy.frame(frame), cv2.GaussianBlur(rgb, (0, 0), 3.0), 90)
        elif frame >= 40:
            write_jpeg(copy.frame(frame), np.roll(rgb, 20, axis=1), 90)
    workspace = Workspace(clip, copy, IngestConfig(size=SIZE))
    workspace.record("inspection").unlink()
    run_steps(workspace, last="inspection")
    found = {finding.kind: finding.frames for finding in read_findings(workspace)}
    assert found["blurred"] == [20, 21, 22]
    assert found["cut"] == [40]


def test_the_worst_come_first() -> None:
    findings = [Finding("a", "", "", [1, 2, 3], [1.5, 1.1, 9.0]), Finding("b", "", "", [2, 50], [4.0, 2.0])]
    assert worst_frames(findings, 1000) == [1, 2, 3, 50]
    assert worst_frames(findings, 20) == [2, 3]


def test_a_blurred_face_is_less_sharp(dataset: DatasetFolder) -> None:
    rgb, points = np.ascontiguousarray(read_rgb(dataset.frame(20))), np.loadtxt(dataset.landmarks(20))
    sharp = face_sharpness(rgb, points)
    values = [face_sharpness(cv2.GaussianBlur(rgb, (0, 0), sigma), points) for sigma in (1.0, 2.0, 4.0)]
    assert sharp > values[0] > values[1] > values[2]
    assert values[1] < 0.6 * sharp


def test_a_darker_picture_is_as_sharp(dataset: DatasetFolder) -> None:
    rgb, points = np.ascontiguousarray(read_rgb(dataset.frame(20))), np.loadtxt(dataset.landmarks(20))
    assert face_sharpness(rgb // 2, points) == pytest.approx(face_sharpness(rgb, points), rel=0.15)
