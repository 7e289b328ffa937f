"""Logits of wav2vec2 CTC models and hidden states of HuBERT, through the package `transformers` (extra `speech`).

Shapes, chunking and normalisation are those of the original tools (upstream.md 6.9 and 7.3), so that the rows are theirs too.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from r2talker.drive.features.feature import normalise_sound
from r2talker.drive.log_mel import HOP, ROW_RATE
from r2talker.errors import R2TalkerError

ESPERANTO = "cpierse/wav2vec2-large-xlsr-53-esperanto"
WAV2VEC2 = "facebook/wav2vec2-large-960h-lv60-self"
HUBERT = "facebook/hubert-large-ls960-ft"

# Frames of 20 ms that the streaming tool hears before, in and after the stretch whose logits it keeps.
_LEFT, _MIDDLE, _RIGHT = 10, 50, 10
# HuBERT hears pieces of 1000 rows; a row reads 400 samples, 80 more than a step.
_PIECE_ROWS, _OVERLAP = 1000, 80
_ROW_MULTIPLE = 8


class Wav2Vec2Logits:
    """CTC logits of a wav2vec2 model, one row per 20 ms.

    The model hears 70 frames at a time, of which the middle 50 are kept: so the tools for live sound do it, and files too.
    """

    rate = ROW_RATE
    receptive_samples = (_LEFT + _MIDDLE + _RIGHT) * HOP

    def __init__(self, model: str | Path, *, width: int | None = None, device: str | torch.device = "cpu") -> None:
        """`model`: name on the hub or local folder. R2TalkerError if it cannot be had, or has not `width` classes."""
        self._model = _load("Wav2Vec2ForCTC", model).to(device)
        self._device = torch.device(device)
        self.width = int(self._model.config.vocab_size)
        if width is not None and self.width != width:
            raise R2TalkerError(f"{model} has {self.width} classes, expected {width}; give another model or another kind")

    @torch.inference_mode()
    def __call__(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Logits of a whole sound: one row less than it has begun frames of 20 ms."""
        kept = [self._logits(piece)[first:last] for piece, first, last in _pieces(samples)]
        return torch.cat(kept).cpu() if kept else torch.zeros(0, self.width)

    def _logits(self, piece: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        logits: Tensor = self._model(normalise_sound(piece.to(self._device))[None]).logits[0]
        return logits.float()


class HubertStates:
    """Last hidden state of a HuBERT model, one row per 20 ms, as many as fit, filled with zeros to a multiple of 8."""

    rate = ROW_RATE
    receptive_samples = None

    def __init__(self, model: str | Path = HUBERT, *, width: int | None = 1024, device: str | torch.device = "cpu") -> None:
        """`model`: name on the hub or local folder. R2TalkerError if it cannot be had, or is not `width` wide."""
        self._model = _load("HubertModel", model).to(device)
        self._device = torch.device(device)
        self.width = int(self._model.config.hidden_size)
        if width is not None and self.width != width:
            raise R2TalkerError(f"{model} is {self.width} wide, expected {width}; give another model or another kind")

    @torch.inference_mode()
    def __call__(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Hidden states of a whole sound, made piece by piece of 20 s."""
        sound, step = normalise_sound(samples.to(self._device)), _PIECE_ROWS * HOP
        pieces = [sound[first : first + step + _OVERLAP] for first in range(0, len(sound), step)]
        states = [self._model(piece[None]).last_hidden_state[0].float() for piece in pieces if len(piece) >= HOP + _OVERLAP]
        rows = torch.cat(states) if states else torch.zeros(0, self.width)
        return pad(rows, (0, 0, 0, -rows.shape[0] % _ROW_MULTIPLE)).cpu()


def _pieces(samples: Float[Tensor, " samples"]) -> Iterator[tuple[Tensor, int, int | None]]:
    """Stretches that the model hears at once, with the rows to keep of each (upstream.md 6.9)."""
    heard = pad(samples, (_LEFT * HOP, 0))
    first, whole = 0, (_LEFT + _MIDDLE + _RIGHT) * HOP
    while len(heard) - first >= whole:
        yield heard[first : first + whole], _LEFT, _LEFT + _MIDDLE
        first += _MIDDLE * HOP
    rest = heard[first:]
    if len(rest) > (_LEFT + 1) * HOP + _OVERLAP:
        yield rest, _LEFT, None


def _load(kind: str, model: str | Path) -> Any:
    """A model of class `kind` from the hub's cache, the hub, or a folder."""
    try:
        import transformers
    except ImportError as error:
        raise R2TalkerError(
            "speech models need the package 'transformers'; install it with `pip install 'r2talker[speech]'`"
        ) from error
    # The hub reports every retry, which the error below sums up.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        loaded, report = getattr(transformers, kind).from_pretrained(str(model), output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise R2TalkerError(
            f"cannot load the speech model {model}: fetch https://huggingface.co/{model} (config.json and the weights) "
            "into a folder and give it with --model"
            if not Path(model).exists()
            else f"{model} holds no {kind} that transformers can load ({str(error).splitlines()[0]}); fetch the model again"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key and "parametrizations" not in key)
    if missing:
        raise R2TalkerError(f"{model} lacks weights of {kind} such as {missing[0]}; give a model of that kind")
    return loaded.eval().requires_grad_(False)
