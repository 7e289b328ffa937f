"""report.html: one file that needs nothing else, holds what it promises, and escapes what comes from outside."""

import base64
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.files import read_json, write_json
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.report.charts import LEFT, RIGHT, WIDTH, Band, Chart, Curve, draw_chart, place
from r2talker.ingest.report.page import report_path
from r2talker.ingest.step import Workspace
from tests.tiny import SIZE

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


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
        "Eye opening", "Mouth opening", "Sound", "Sharpness of the face", "Sound and lips", "reprojection error", "held out",
    ):  # fmt: skip
        assert words in shown
    assert text.count("<svg") == 7


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
    assert page.count('class="band"') == 2 * 7
    run_steps(replace(workspace, config=replace(workspace.config, exclude="worst")))
    assert "--exclude worst" not in report_path(workspace.folder).read_text()


class TestCharts:
    def points(self, drawing: str, curve: int = 0) -> np.ndarray:
        (found,) = re.findall(rf'<polyline class="c{curve}" points="([^"]+)"', drawing)
        return np.array([pair.split(",") for pair in found.split()], float)

    def test_a_curve_goes_where_its_values_are(self) -> None:
        values = np.sin(np.arange(100) / 9)
        points = self.points(draw_chart(Chart("t", "u", [Curve("a", values)])))
        assert points[:, 0] == pytest.approx([place(k, 100) for k in range(100)], abs=0.06)
        assert np.corrcoef(points[:, 1], values)[0, 1] < -0.9999
        assert points[0, 0] == LEFT
        assert points[-1, 0] == WIDTH - RIGHT

    def test_many_pictures_keep_their_extremes(self) -> None:
        values = np.zeros(20000)
        values[7777], values[1234] = 5, -3
        points = self.points(draw_chart(Chart("t", "", [Curve("a", values)])))
        assert len(points) <= 1600
        assert np.ptp(points[:, 1]) == pytest.approx(
            np.ptp(self.points(draw_chart(Chart("t", "", [Curve("a", values[:9000])])))[:, 1])
        )

    def test_flat_and_tiny_curves_can_be_drawn(self) -> None:
        for values in (np.zeros(1), np.full(50, 3.2), np.array([1e-9, 2e-9])):
            drawing = draw_chart(Chart("t", "", [Curve("a", values)], [Band(0, 1, "band")], [0], limit=0.5))
            assert "nan" not in drawing
            assert "inf" not in drawing

    def test_titles_are_escaped(self) -> None:
        assert "<i>" not in draw_chart(Chart("<i>", "<i>", [Curve("<i>x", np.ones(3))])).replace("<i class", "")
