"""`r2talker features`: the audio features of the original tools, for what was trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.errors import R2TalkerError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Kind = Literal["esperanto", "wav2vec2", "hubert", "deepspeech"]


@dataclass(frozen=True)
class FeaturesArguments:
    """Write the features of a sound as the original tools name and shape them, (T, 16, K) at 25 windows per second.

    esperanto: aud_eo.npy (44 logits). wav2vec2: aud.npy (32 logits). deepspeech: aud_ds.npy (29 logits). hubert: aud_hu.npy
    (1024 states) and aud_hubert.npy, the rows at 50 Hz that the windows were cut from.
    """

    sound: Positional[Path]
    """Sound or video file."""
    kind: Kind
    """Which model listens; wav2vec2, esperanto and hubert need the extra `speech`, deepspeech needs the extra `deepspeech`."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path()
    """Folder to write into."""
    model: str | None = None
    """Folder of the speech model, or its name on the hub; for deepspeech the file output_graph.pb, which it cannot do without."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the speech models run; deepspeech takes no notice."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(FeaturesArguments, "features", arguments)
    if not args.sound.exists():
        raise R2TalkerError(f"{args.sound} does not exist; give a sound or video file")
    import torch

    from r2talker.files import write_npy
    from r2talker.media.read import read_audio

    arrays = make_arrays(args.kind, args.model, args.device, torch.from_numpy(read_audio(args.sound)))
    args.output.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        write_npy(args.output / name, array)
        print(f"wrote {args.output / name}, {array.dtype} {list(array.shape)}")


def make_arrays(kind: Kind, model: str | None, device: str, samples: "Tensor") -> "dict[str, np.ndarray]":
    """Arrays by file name."""
    from r2talker.device import choose_device
    from r2talker.drive.features import speech_model
    from r2talker.drive.features.feature import tool_windows

    where = choose_device(device)
    if kind == "deepspeech":
        from r2talker.drive.features.deepspeech import RELEASE, DeepSpeechLogits

        if model is None:
            raise R2TalkerError(f"DeepSpeech needs its graph: fetch {RELEASE} and give its output_graph.pb with --model")
        # The tool drops its last row.
        return {"aud_ds.npy": tool_windows(DeepSpeechLogits(model)(samples)[:-1], last_half=False).numpy()}
    if kind == "hubert":
        rows = speech_model.HubertStates(model or speech_model.HUBERT, device=where)(samples)
        return {"aud_hu.npy": tool_windows(rows, last_half=True).numpy(), "aud_hubert.npy": rows.numpy()}
    name, width, file = {
        "esperanto": (speech_model.ESPERANTO, 44, "aud_eo.npy"),
        "wav2vec2": (speech_model.WAV2VEC2, 32, "aud.npy"),
    }[kind]
    logits = speech_model.Wav2Vec2Logits(model or name, width=width, device=where)(samples)
    return {file: tool_windows(logits, last_half=True).numpy()}
