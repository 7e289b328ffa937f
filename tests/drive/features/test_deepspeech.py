"""DeepSpeech's input from first principles, and its logits from a tiny frozen graph with the same tensors."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch

from r2talker.drive.features.deepspeech import DeepSpeechLogits
from r2talker.drive.features.mfcc import CEPSTRA, CONTEXT, INPUT_WIDTH, compute_cepstra, network_input
from r2talker.errors import R2TalkerError
from tests.tolerances import assert_close

RATE = 16000


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    return torch.randn(RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1000


def test_cepstra_are_what_the_recipe_says(sound: torch.Tensor) -> None:
    """Row 7, band by band, in NumPy and SciPy."""
    samples = sound.numpy()
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    frame = emphasised[7 * 160 : 7 * 160 + 400]
    power = np.abs(np.fft.rfft(frame, 512)) ** 2 / 512
    corners = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    bins = np.floor(513 * 700 * (10 ** (corners / 2595) - 1) / 16000)
    bands = np.zeros(26)
    for band in range(26):
        for k in range(int(bins[band]), int(bins[band + 2])):
            low, mid, high = bins[band : band + 3]
            bands[band] += power[k] * ((k - low) / (mid - low) if k < mid else (high - k) / (high - mid))
    cepstra = scipy.fft.dct(np.log(bands), type=2, norm="ortho") * (1 + 11 * np.sin(math.pi * np.arange(26) / 22))
    cepstra[0] = np.log(power.sum())
    assert_close(compute_cepstra(sound)[7], cepstra, "cepstra")


@pytest.mark.parametrize(("samples", "rows"), [(100, 1), (400, 1), (401, 2), (560, 2), (16000, 99)])
def test_the_last_frame_is_filled(samples: int, rows: int) -> None:
    cepstra = compute_cepstra(torch.ones(samples))
    assert cepstra.shape == (rows, CEPSTRA)
    assert torch.isfinite(cepstra).all()


def test_the_network_reads_every_second_row_and_its_neighbours(sound: torch.Tensor) -> None:
    given = network_input(sound / 32768)
    assert given.shape == (50, INPUT_WIDTH)
    assert float(given.mean()) == pytest.approx(0, abs=1e-9)
    assert float(given.std(correction=0)) == pytest.approx(1)
    rows = given.unflatten(1, (2 * CONTEXT + 1, CEPSTRA))
    # The middle of a window is its row, whose place in the next window is one earlier.
    assert torch.equal(rows[1:, CONTEXT - 1], rows[:-1, CONTEXT])
    assert torch.equal(rows[0, 0], rows[49, -1])  # beyond the ends: zeros, normalised like the rest


def test_silence_is_finite() -> None:
    assert torch.isfinite(network_input(torch.zeros(4000))).all()


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="needs the extra `deepspeech`")


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(INPUT_WIDTH, 29)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(tensorflow: Any, weights: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer under the names of DeepSpeech 0.1.0, of its shapes: [1, rows, 494] to [rows, 1, 29]."""
    compat = tensorflow.compat.v1
    graph = tensorflow.Graph()
    with graph.as_default():
        given = compat.placeholder(tensorflow.float32, [1, None, INPUT_WIDTH], name="input_node")
        lengths = compat.placeholder(tensorflow.int32, [1], name="input_lengths")
        logits = tensorflow.matmul(given[0][: lengths[0]], tensorflow.constant(weights))
        tensorflow.expand_dims(logits, 1, name="logits")
    path = tmp_path_factory.mktemp("graph") / "output_graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_logits_are_the_graphs_interpolated(graph: Path, weights: np.ndarray, sound: torch.Tensor) -> None:
    samples = sound[:15000] / 32768
    logits = DeepSpeechLogits(graph)(samples)
    assert logits.shape == (47, 29)  # round(50 * 0.9375)
    assert logits.dtype == torch.float64
    # One row of input per row of output here, so that nothing lies between two.
    expected = network_input(samples).float().numpy() @ weights
    assert_close(logits[:46], expected[:46], "graph of float32")


def test_another_graph_is_refused(tensorflow: Any, tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.pb", tmp_path / "broken.pb"
    empty.write_bytes(tensorflow.Graph().as_graph_def().SerializeToString())
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(R2TalkerError, match="has no tensor input_node"):
        DeepSpeechLogits(empty)
    with pytest.raises(R2TalkerError, match="is no frozen graph"):
        DeepSpeechLogits(broken)
    with pytest.raises(R2TalkerError, match=r"cannot read .*fetch https.*output_graph.pb with --model"):
        DeepSpeechLogits(tmp_path / "absent.pb")


def test_without_tensorflow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(R2TalkerError, match=r"pip install 'r2talker\[deepspeech\]'"):
        DeepSpeechLogits("output_graph.pb")
