"""report.html: one file that needs nothing else, holds what it promises, and escapes what comes from outside."""

import base64
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.files import read_json, write_json
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.report.page import report_path
from r2talker.ingest.step import Workspace
from r2talker.report.charts import WIDTH
from tests.report.page import Page
from tests.tiny import SIZE


@pytest.fixture(scope="module")
def text(dataset: DatasetFolder) -> str:
    return report_path(dataset).read_text()


def test_it_is_one_file_that_asks_for_nothing(text: str) -> None:
    page = Page(text)
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "url(" not in text
    assert not re.search(r"https?://|@import|fetch\(|XMLHttp", text)
    assert len(text) < 2_000_000


def test_it_shows_every_part(text: str) -> None:
    shown = " ".join(Page(text).text)
    for words in (
        "subject.mp4", "Warnings", "too short", "Film at least 20 s", "Landmarks", "Masks", "Mesh", "Head turning", "Head position",
        "Eye opening", "Lids", "Gaze", "Mouth opening", "Sound", "Sharpness of the face", "Sound and lips", "reprojection error", "held out",
    ):  # fmt: skip
        assert words in shown
    assert text.count("<svg") == 9


def test_pictures_are_pictures(text: str) -> None:
    sources = Page(text).sources
    assert len(sources) >= 3 * 12
    for source in sources[-36:]:
        content = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR).std() > 10


def test_drawings_are_well_formed(text: str) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", text):
        root = ElementTree.fromstring(drawing)
        assert root.get("viewBox", "").startswith(f"0 0 {WIDTH} ")
        assert "nan" not in drawing


def test_names_from_outside_are_escaped(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "<b>&me.mp4"
    shutil.copy(clip, video)
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy"))
    report_path(copy).unlink()
    assert run_steps(Workspace(video, copy, IngestConfig(size=SIZE))) == ["report", "description"]
    page = report_path(copy).read_text()
    assert "<b>&me" not in page
    assert "&lt;b&gt;&amp;me.mp4" in page


def test_warnings_name_pictures_and_exclusions_are_told(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> None:
    workspace = Workspace(
        clip, DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy")), IngestConfig(size=SIZE, exclude="3-5")
    )
    record = read_json(workspace.record("inspection"))
    finding = {"kind": "hand", "what": "A hand.", "advice": "Exclude.", "frames": [20, 21, 40], "badness": [1.5, 1.5, 1.5]}
    record["readings"]["findings"] = [finding]
    write_json(workspace.record("inspection"), record)
    run_steps(workspace)
    page = report_path(workspace.folder).read_text()
    assert "<code>20-21,40</code>" in page
    assert "--exclude worst" in page
    assert "Excluded from training: <code>3-5</code>" in page
    assert page.count('class="band"') == 2 * 9
    run_steps(replace(workspace, config=replace(workspace.config, exclude="worst")))
    assert "--exclude worst" not in report_path(workspace.folder).read_text()
