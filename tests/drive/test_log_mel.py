"""Log-mel rows depend on a bounded stretch of sound; audio windows are those of upstream.md section 1."""

import math

import pytest
import torch

from r2talker.drive.log_mel import HOP, SAMPLE_RATE, LogMel, audio_windows, mel_bands, row_count

CHUNK_TOLERANCE = 1e-5  # float32 spectra of differently batched transforms


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize("chunk_rows", [1, 3, 25])
def test_rows_in_chunks_equal_rows_of_the_whole(chunk_rows: int) -> None:
    log_mel = LogMel(40)
    samples = noise(HOP * 63 + 17)
    whole = log_mel(samples)
    margin = log_mel.margin
    padded = torch.nn.functional.pad(samples, (margin, HOP * whole.shape[0] - samples.shape[0] + margin))
    chunks = [
        log_mel.inner_rows(padded[first * HOP : (first + chunk_rows) * HOP + 2 * margin])
        for first in range(0, whole.shape[0], chunk_rows)
    ]
    torch.testing.assert_close(torch.cat(chunks), whole, rtol=0, atol=CHUNK_TOLERANCE)


def test_a_row_sees_only_its_frame_and_the_margin() -> None:
    log_mel = LogMel(40)
    samples = noise(HOP * 20)
    changed = samples.clone()
    changed[HOP * 10 : HOP * 11] = 0.5
    moved = (log_mel(samples) - log_mel(changed)).abs().amax(1) > CHUNK_TOLERANCE
    assert moved.nonzero().flatten().tolist() == [9, 10, 11]


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 16000])
def test_every_begun_frame_has_a_row(samples: int) -> None:
    assert LogMel(8)(torch.zeros(samples)).shape == (row_count(samples), 8)


def test_silence_is_the_lowest_value_and_a_tone_peaks_at_its_band() -> None:
    log_mel = LogMel(40)
    assert torch.equal(log_mel(torch.zeros(3200)), torch.full((10, 40), LogMel.silence))
    time = torch.arange(16000) / SAMPLE_RATE
    row = log_mel(0.5 * torch.sin(2 * math.pi * 1000 * time))[20]
    wanted = mel_bands(40)[round(1000 / (SAMPLE_RATE / 512))].argmax()
    assert row.argmax() == wanted
    assert row.min() >= LogMel.silence


@pytest.mark.parametrize("width", [1, 24, 64, 80])
def test_no_band_is_empty(width: int) -> None:
    assert mel_bands(width).amax(0).min() > 0.3


def test_audio_windows_of_a_hand_made_sequence() -> None:
    rows = torch.arange(1.0, 13.0)[:, None]  # row r holds r + 1
    windows = audio_windows(rows, 8)[:, :, 0]
    assert windows[0].tolist() == [0] * 8 + [1, 2, 3, 4, 5, 6, 7, 8]
    assert windows[3].tolist() == [0, 0, *range(1, 13), 0, 0]
    assert windows[7].tolist() == [7, 8, 9, 10, 11, 12] + [0] * 10


def test_audio_windows_pad_with_the_given_value_and_allow_no_rows() -> None:
    assert torch.equal(audio_windows(torch.zeros(0, 3), 2, padding=-1.0), torch.full((2, 16, 3), -1.0))
    assert audio_windows(torch.ones(5, 3), 0).shape == (0, 16, 3)
