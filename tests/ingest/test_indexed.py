"""Small PNG files of few values, as any reader sees them."""

import cv2
import numpy as np
import pytest

from r2talker.ingest.indexed import encode_indexed, encode_levels

PALETTE = np.array([(255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 0, 0)], np.uint8)
SIDES = [(1, 1), (5, 7), (63, 66), (128, 128)]


def decode(content: bytes, mode: int) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), mode)


@pytest.mark.parametrize("sides", SIDES)
def test_values_become_the_colours_of_the_palette(sides: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 4, sides).astype(np.uint8)
    for mode in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED):
        assert (decode(encode_indexed(values, PALETTE), mode)[..., ::-1] == PALETTE[values]).all()


@pytest.mark.parametrize("sides", SIDES)
def test_levels_spread_over_eight_bits(sides: tuple[int, int]) -> None:
    values = np.random.default_rng(1).integers(0, 16, sides).astype(np.uint8)
    assert (decode(encode_levels(values), cv2.IMREAD_GRAYSCALE) == values * 17).all()


def test_five_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4 colours, got 5"):
        encode_indexed(np.zeros((4, 4), np.uint8), np.zeros((5, 3), np.uint8))
