"""Logits of DeepSpeech 0.1.0 from its frozen graph, through TensorFlow's compat.v1 layer (extra `deepspeech`)."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.drive.features.mfcc import network_input
from r2talker.drive.log_mel import ROW_RATE, SAMPLE_RATE
from r2talker.errors import R2TalkerError

RELEASE = "https://github.com/mozilla/DeepSpeech/releases/download/v0.1.0/deepspeech-0.1.0-models.tar.gz"

_INPUT, _LENGTHS, _LOGITS = "input_node:0", "input_lengths:0", "logits:0"


class DeepSpeechLogits:
    """Logits of 29 characters at 50 Hz, as many as the sound has rows of 20 ms; float64, as the tool stores them."""

    rate = ROW_RATE
    receptive_samples = None
    width = 29

    def __init__(self, graph: str | Path) -> None:
        """`graph`: the release's `output_graph.pb`. R2TalkerError if it or TensorFlow is missing, or is something else."""
        self._tensorflow = _import_tensorflow()
        self._session = self._open(Path(graph))

    def __call__(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Logits of a whole sound, interpolated linearly to round(50 * seconds) rows (upstream.md 6.9)."""
        rows = round(len(samples) / SAMPLE_RATE * self.rate)
        if rows == 0:
            return torch.zeros(0, self.width, dtype=torch.float64)
        given = network_input(samples).numpy()
        feed = {_INPUT: given[None].astype(np.float32), _LENGTHS: [len(given)]}
        logits = np.asarray(self._session.run(_LOGITS, feed_dict=feed), np.float64).reshape(len(given), -1)
        if logits.shape[1] != self.width:
            raise R2TalkerError(f"the graph gives {logits.shape[1]} classes, expected {self.width}; use DeepSpeech 0.1.0")
        heard = np.arange(len(given)) / self.rate
        wanted = np.arange(rows) / self.rate
        columns = [np.interp(wanted, heard, column) for column in logits.T]
        return torch.from_numpy(np.stack(columns, axis=1))

    def _open(self, path: Path) -> Any:
        compat = self._tensorflow.compat.v1
        definition = compat.GraphDef()
        try:
            definition.ParseFromString(path.read_bytes())
        except OSError as error:
            raise R2TalkerError(
                f"cannot read {path}: {error.strerror or error}; fetch {RELEASE} and give its output_graph.pb with --model"
            ) from error
        except Exception as error:
            # Protocol buffers has its own error class, which is not worth an import.
            raise R2TalkerError(f"{path} is no frozen graph; fetch {RELEASE} and give its output_graph.pb") from error
        graph = self._tensorflow.Graph()
        with graph.as_default():
            compat.import_graph_def(definition, name="")
        names = {operation.name for operation in graph.get_operations()}
        missing = [name for name in (_INPUT, _LENGTHS, _LOGITS) if name.partition(":")[0] not in names]
        if missing:
            raise R2TalkerError(f"{path} has no tensor {missing[0]}; give DeepSpeech 0.1.0's output_graph.pb ({RELEASE})")
        return compat.Session(graph=graph)


def _import_tensorflow() -> Any:
    # TensorFlow greets on stderr unless told not to before it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow
    except ImportError as error:
        raise R2TalkerError(
            "DeepSpeech features need the package 'tensorflow-cpu'; install it with `pip install 'r2talker[deepspeech]'`"
        ) from error
    return tensorflow
