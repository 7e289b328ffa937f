"""Readings of pictures on cases worked out by hand or by a slow oracle."""

import math

import cv2
import numpy as np
import pytest

from r2talker.data.regions import Region
from r2talker.evaluate.areas import find_areas, neck_band
from r2talker.evaluate.measures import (
    MOST_DECIBEL,
    Flicker,
    error_within,
    make_maps,
    psnr_in,
    sharpness_in,
    span,
    ssim_in,
    ssim_map,
)
from tests.tolerances import TOLERANCES, assert_close

WHOLE = Region(0, 40, 0, 50)


@pytest.fixture
def truth() -> np.ndarray:
    """Smooth structure with some grain, 40 x 50."""
    grain = np.random.default_rng(3).normal(128, 60, (40, 50, 3))
    return np.clip(cv2.GaussianBlur(grain, (0, 0), 1.2) * 2 - 128, 20, 235).astype(np.uint8)


class TestPsnr:
    def test_a_constant_error(self, truth: np.ndarray) -> None:
        maps = make_maps(truth + 5, truth)
        assert psnr_in(maps, WHOLE) == pytest.approx(20 * math.log10(255 / 5), abs=1e-4)

    def test_only_the_box_counts(self, truth: np.ndarray) -> None:
        wrong = truth.copy()
        wrong[10:20, 10:20, 0] += 10
        maps = make_maps(wrong, truth)
        assert psnr_in(maps, Region(10, 20, 10, 20)) == pytest.approx(20 * math.log10(255 / 10) + 10 * math.log10(3), abs=1e-4)
        assert psnr_in(maps, Region(20, 40, 0, 50)) == psnr_in(make_maps(truth, truth), WHOLE) == MOST_DECIBEL


class TestSsim:
    def oracle(self, made: np.ndarray, true: np.ndarray, y: int, x: int) -> float:
        """Window by window in double precision, as the paper writes it."""
        offsets = np.arange(-5, 6)
        window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        values = []
        for channel in range(3):
            a, b = (p[y - 5 : y + 6, x - 5 : x + 6, channel].astype(float) for p in (made, true))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            c = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * ma * mb + c1) * (2 * c + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        return float(np.mean(values))

    def test_against_the_paper(self, truth: np.ndarray) -> None:
        made = np.clip(truth.astype(int) + np.random.default_rng(0).normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
        ours = ssim_map(made.astype(np.float32), truth.astype(np.float32))
        for y, x in ((5, 5), (20, 25), (34, 44), (11, 30)):
            assert_close(ours[y, x], self.oracle(made, truth, y, x), "similarity")

    def test_equal_pictures_are_one(self, truth: np.ndarray) -> None:
        assert ssim_in(make_maps(truth, truth), WHOLE) == pytest.approx(1, abs=1e-6)

    def test_windows_that_are_not_whole_do_not_count(self, truth: np.ndarray) -> None:
        maps = make_maps(truth, truth)
        maps.ssim[:5], maps.ssim[-5:], maps.ssim[:, :5], maps.ssim[:, -5:] = 0, 0, 0, 0
        assert ssim_in(maps, WHOLE) == pytest.approx(1, abs=1e-6)
        assert math.isnan(ssim_in(maps, Region(0, 5, 0, 50)))


class TestSharpness:
    def test_a_blur_is_less_and_a_doubled_contrast_is_four(self, truth: np.ndarray) -> None:
        assert sharpness_in(make_maps(truth, truth), WHOLE) == 1
        assert sharpness_in(make_maps(cv2.GaussianBlur(truth, (0, 0), 1.5), truth), WHOLE) < 0.5
        half = (truth // 2).astype(np.uint8)
        twice = half * 2
        assert sharpness_in(make_maps(twice, half), WHOLE) == pytest.approx(4, rel=1e-4)

    def test_a_truth_without_detail_says_nothing(self, truth: np.ndarray) -> None:
        assert math.isnan(sharpness_in(make_maps(truth, np.full_like(truth, 90)), WHOLE))


class TestFlicker:
    def film(self, frames: int, sigma: float, seed: int) -> list[np.ndarray]:
        random = np.random.default_rng(seed)
        base = np.full((64, 64, 1), 128.0)
        return [
            np.clip((base + random.normal(0, sigma, base.shape)).round(), 0, 255).repeat(3, 2).astype(np.uint8)
            for _ in range(frames)
        ]

    def readings(self, made: list[np.ndarray], true: list[np.ndarray]) -> list[tuple[int, float, float]]:
        flicker, face = Flicker(), Region(8, 56, 8, 56)
        found = [flicker.push(k, make_maps(a, b), face) for k, (a, b) in enumerate(zip(made, true, strict=True))]
        return [(one[0], one[1].made, one[1].true) for one in found if one is not None]

    def test_noise_reads_as_its_own_size(self) -> None:
        found = self.readings(self.film(40, 5.0, 1), self.film(40, 0.0, 2))
        assert [frame for frame, *_ in found] == list(range(1, 39))
        assert np.mean([made for _, made, _ in found]) == pytest.approx(5, rel=TOLERANCES["size of noise"].rtol)
        assert {true for *_, true in found} == {0}

    def test_a_film_that_is_the_truth_flickers_as_much(self) -> None:
        film = self.film(6, 3.0, 4)
        assert all(made == true > 0 for _, made, true in self.readings(film, film))

    def test_what_moves_in_the_truth_does_not_count(self) -> None:
        true = self.film(5, 0.0, 0)
        for k, picture in enumerate(true):
            picture[:32] = 40 * k
        made = [picture.copy() for picture in true]
        for k, picture in enumerate(made):
            picture[:24] = 90 * (k % 2)
        assert [reading[1:] for reading in self.readings(made, true)] == [(0, 0)] * 3

    def test_frames_apart_are_not_compared(self) -> None:
        flicker, film, face = Flicker(), self.film(4, 3.0, 5), Region(0, 64, 0, 64)
        assert [flicker.push(k, make_maps(p, p), face) for k, p in zip((0, 1, 3, 4), film, strict=True)] == [None] * 4


def test_range_from_the_2nd_to_the_98th_percentile() -> None:
    values = np.append(np.linspace(0, 10, 101), [np.nan] * 7)
    assert span(values) == pytest.approx(9.6)
    assert math.isnan(span(values[-3:]))


class TestAreas:
    def test_boxes(self) -> None:
        points = np.full((68, 2), 100.0)
        points[0], points[16], points[8] = (60.2, 90), (140.5, 90), (100, 160)
        points[48:] = (95, 130)
        points[54] = (110.5, 140)
        areas = find_areas(points, 256, 256)
        assert areas.picture.rows_and_columns == (0, 256, 0, 256)
        assert areas.face is not None
        assert areas.mouth is not None
        assert areas.face.rows_and_columns == (90, 160, 60, 141)
        # 8 pixels of 512 are 4 of 256.
        assert areas.mouth.rows_and_columns == (126, 144, 91, 115)

    def test_boxes_end_with_the_picture(self) -> None:
        points = np.array([(-30.0, -20.0), (500.0, 90.0)]).repeat(34, 0)
        face = find_areas(points, 100, 200).face
        assert face is not None
        assert face.rows_and_columns == (0, 90, 0, 200)

    def test_unknown_points(self) -> None:
        assert list(find_areas(None, 9, 9).named()) == list(find_areas(np.full((68, 2), np.nan), 9, 9).named()) == ["picture"]

    def test_the_band_lies_round_the_border_of_head_and_body(self) -> None:
        parsing = np.full((512, 512, 3), 255, np.uint8)
        parsing[100:300, 150:350] = (255, 0, 0)
        parsing[300:340, 200:300] = (0, 255, 0)
        parsing[340:, 100:400] = (0, 0, 255)
        band = neck_band(parsing)
        assert np.flatnonzero(band[:, 250]).tolist() == list(range(291, 308))
        assert not band[:, 160].any()
        # The ends are as round as the disc.
        assert band[299, 191:309].all()
        error = make_maps(np.full((512, 512, 3), 7, np.uint8), np.zeros((512, 512, 3), np.uint8))
        assert error_within(error, band) == pytest.approx(7)
        assert math.isnan(error_within(error, np.zeros((512, 512), bool)))
