"""Reading the dataset's sound without a media library, so that a machine that only trains needs none."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.io import wavfile
from torch import Tensor

from r2talker.errors import R2TalkerError

RATE = 16000


def read_pcm(path: Path) -> Float[Tensor, " samples"]:
    """Samples of `aud.wav` (16 kHz 16-bit, the mean of its channels) in [-1, 1]; R2TalkerError for a file of another kind."""
    try:
        rate, pcm = wavfile.read(path)
    except (OSError, ValueError) as error:
        raise R2TalkerError(f"cannot read {path} ({error}); ingest the clip again") from error
    if rate != RATE or pcm.dtype != np.int16:
        raise R2TalkerError(
            f"{path} is {rate} Hz {pcm.dtype} {list(pcm.shape)}; expected {RATE} Hz 16-bit: ingest the clip again"
        )
    samples = torch.from_numpy(pcm.astype(np.float32) / 32768)
    return samples if samples.dim() == 1 else samples.mean(1)
