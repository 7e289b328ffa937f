"""Speaker-normalised log-mel rows: another voice, microphone or level looks like the voice that the model was trained on.

From each row the mean of the speech of the last seconds is taken away, band by band, which removes level, microphone and the
long-term colour of a voice (cepstral mean subtraction, Atal 1974, over a causal window). The mean starts at the training voice
and moves to the new voice as it is heard. Only the past is read, and only `CONTEXT_ROWS` of it.
"""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

HISTORY_ROWS = 400
"""Rows of speech whose mean counts (8 s)."""

CONTEXT_ROWS = 2 * HISTORY_ROWS - 2
"""Rows before a row that it may depend on: each row of the history was judged by a history of its own."""

PRIOR_ROWS = 50
"""How many rows of speech the training voice counts for."""

_PER_DECIBEL = 1 / 40
"""Log-mel units per decibel, see `LogMel`."""

_OWN, _OTHER = 0.14, 0.22


def speech_rows(rows: Float[Tensor, "rows width"], quietest: float | Tensor) -> Bool[Tensor, " rows"]:
    """Rows within 20 dB of the loudest of the last 8 s, and louder than `quietest` (mean over the bands)."""
    level = rows.mean(1)
    if level.shape[0] == 0:
        return torch.zeros(0, dtype=torch.bool, device=rows.device)
    # max_pool1d pads with -inf on the past side only.
    past = pad(level[None, None], (HISTORY_ROWS - 1, 0), value=float("-inf"))
    loudest = max_pool1d(past, HISTORY_ROWS, stride=1)[0, 0]
    return (level > loudest - 20 * _PER_DECIBEL) & (level > quietest)


def quietest_speech(rows: Float[Tensor, "rows width"]) -> float:
    """The level below which nothing counts as speech: 35 dB under the loud rows (95 %) of the training voice."""
    level = rows.mean(1)
    return float(torch.quantile(level, 0.95)) - 35 * _PER_DECIBEL


def speaker_mean(
    rows: Float[Tensor, "rows width"], voice: Float[Tensor, " width"], quietest: float | Tensor
) -> Float64[Tensor, "rows width"]:
    """Running mean of speech at each row, which starts at `voice` with the weight of `PRIOR_ROWS` rows."""
    speech = speech_rows(rows, quietest).to(torch.float64)[:, None]
    # Float64 sums, so that differences of long sums are exact to more than float32 shows.
    total = pad((rows * speech).cumsum(0), (0, 0, HISTORY_ROWS, 0))
    count = pad(speech.cumsum(0), (0, 0, HISTORY_ROWS, 0))
    recent_total = total[HISTORY_ROWS:] - total[: rows.shape[0]]
    recent_count = count[HISTORY_ROWS:] - count[: rows.shape[0]]
    return (recent_total + PRIOR_ROWS * voice) / (recent_count + PRIOR_ROWS)


def strangeness(
    mean: Float64[Tensor, "rows width"], voice: Float[Tensor, " width"], spread: Float[Tensor, " width"]
) -> Float[Tensor, " rows"]:
    """How unlike the training voice the speaker is, 0 to 1, from the colour of the running mean; level does not matter.

    The root mean square difference over the bands, in standard deviations `spread` of the training voice's rows, is about 0.1
    for the person's own voice on another day and 0.2 to 0.5 for others.
    """
    difference = (mean - voice).to(voice.dtype)
    colour = (difference - difference.mean(1, keepdim=True)) / spread
    distance = colour.square().mean(1).sqrt()
    return ((distance - _OWN) / (_OTHER - _OWN)).clamp(0, 1)
