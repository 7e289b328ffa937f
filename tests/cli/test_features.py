"""`r2talker features` writes what the original tools write, by their names."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from r2talker.cli.features import main
from r2talker.drive.features.speech_model import HubertStates, Wav2Vec2Logits
from r2talker.errors import R2TalkerError


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.random.default_rng(0).normal(size=32000) * 0.1, 16000)
    return path


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("esperanto", {"aud_eo.npy": (50, 16, 44)}),
        ("wav2vec2", {"aud.npy": (50, 16, 32)}),
        ("hubert", {"aud_hu.npy": (53, 16, 1024), "aud_hubert.npy": (104, 1024)}),
    ],
)
def test_files_and_shapes_are_the_tools(
    sound: Path, tmp_path: Path, kind: str, files: dict[str, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models themselves are replaced: tests/drive/features has them."""

    def logits(self: Wav2Vec2Logits, model: str, *, width: int, device: torch.device) -> None:
        assert model == "folder"
        self.width = width

    monkeypatch.setattr(Wav2Vec2Logits, "__init__", logits)
    monkeypatch.setattr(Wav2Vec2Logits, "__call__", lambda self, samples: torch.ones(len(samples) // 320 - 1, self.width))
    monkeypatch.setattr(HubertStates, "__init__", lambda self, model, device: None)
    monkeypatch.setattr(HubertStates, "__call__", lambda self, samples: torch.ones(104, 1024))
    main([str(sound), "--kind", kind, "-o", str(tmp_path / "made"), "--model", "folder"])
    written = {path.name: np.load(path) for path in (tmp_path / "made").iterdir()}
    assert {name: array.shape for name, array in written.items()} == files
    assert all(array.dtype == np.float32 for array in written.values())
    for array in written.values():
        if array.ndim == 3:
            assert (array[0, :8] == 0).all()
            assert (array[0, 8:] == 1).all()


def test_what_cannot_be_done_is_one_line(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match=r"fetch https.*give its output_graph.pb with --model"):
        main([str(sound), "--kind", "deepspeech", "-o", str(tmp_path)])
    with pytest.raises(R2TalkerError, match="does not exist"):
        main([str(tmp_path / "absent.wav"), "--kind", "hubert"])
