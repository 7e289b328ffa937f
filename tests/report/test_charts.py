"""Curves go where their values are."""

import re

import numpy as np
import pytest

from r2talker.report.charts import LEFT, RIGHT, WIDTH, Band, Chart, Curve, draw_chart, place


def points_of(drawing: str, curve: int = 0) -> np.ndarray:
    (found,) = re.findall(rf'<polyline class="c{curve}" points="([^"]+)"', drawing)
    return np.array([pair.split(",") for pair in found.split()], float)


def test_a_curve_goes_where_its_values_are() -> None:
    values = np.sin(np.arange(100) / 9)
    points = points_of(draw_chart(Chart("t", "u", [Curve("a", values)])))
    assert points[:, 0] == pytest.approx([place(k, 100) for k in range(100)], abs=0.06)
    assert np.corrcoef(points[:, 1], values)[0, 1] < -0.9999
    assert points[0, 0] == LEFT
    assert points[-1, 0] == WIDTH - RIGHT


def test_many_pictures_keep_their_extremes() -> None:
    values = np.zeros(20000)
    values[7777], values[1234] = 5, -3
    points = points_of(draw_chart(Chart("t", "", [Curve("a", values)])))
    assert len(points) <= 1600
    assert np.ptp(points[:, 1]) == pytest.approx(
        np.ptp(points_of(draw_chart(Chart("t", "", [Curve("a", values[:9000])])))[:, 1])
    )


def test_flat_and_tiny_curves_can_be_drawn() -> None:
    for values in (np.zeros(1), np.full(50, 3.2), np.array([1e-9, 2e-9])):
        drawing = draw_chart(Chart("t", "", [Curve("a", values)], [Band(0, 1, "band")], [0], limit=0.5))
        assert "nan" not in drawing
        assert "inf" not in drawing


def test_titles_are_escaped() -> None:
    assert "<i>" not in draw_chart(Chart("<i>", "<i>", [Curve("<i>x", np.ones(3))])).replace("<i class", "")


def test_missing_values_leave_gaps() -> None:
    values = np.array([1, 2, np.nan, np.nan, 4, np.nan, 3, 5])
    drawing = draw_chart(Chart("t", "", [Curve("a", values)]))
    pieces = re.findall(r'<polyline class="c0" points="([^"]+)"', drawing)
    columns = [[float(pair.split(",")[0]) for pair in piece.split()] for piece in pieces]
    assert columns == [[round(place(k, 8), 1) for k in piece] for piece in ([0, 1], [4, 4], [6, 7])]
    assert "nan" not in drawing


def test_long_curves_with_gaps_keep_their_extremes() -> None:
    values = np.zeros(20000)
    values[5000:5010] = np.nan
    values[7777] = 5
    drawing = draw_chart(Chart("t", "", [Curve("a", values)]))
    whole = draw_chart(Chart("t", "", [Curve("a", np.append(np.zeros(99), 5.0))]))
    heights = [
        {
            float(pair.split(",")[1])
            for piece in re.findall(r'<polyline class="c0" points="([^"]+)"', d)
            for pair in piece.split()
        }
        for d in (drawing, whole)
    ]
    assert heights[0] == heights[1]


def test_a_chart_without_any_value_can_be_drawn() -> None:
    drawing = draw_chart(Chart("t", "", [Curve("a", np.full(9, np.nan)), Curve("b", np.full(9, np.nan), "true")], limit=2.0))
    assert "nan" not in drawing
    assert "polyline" not in drawing
    assert 'class="key true"' in drawing
