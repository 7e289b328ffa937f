"""wav2vec2 and HuBERT features on tiny random models of the same classes, saved and loaded without a network."""

import math
from pathlib import Path

import pytest
import torch

from r2talker.drive.features import speech_model
from r2talker.drive.features.feature import AudioFeature, normalise_sound, tool_windows
from r2talker.drive.features.speech_model import HubertStates, Wav2Vec2Logits
from r2talker.errors import R2TalkerError
from tests.tolerances import assert_close

transformers = pytest.importorskip("transformers", reason="needs the extra `speech`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

HOP = 320
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CTC model of 44 classes."""
    folder = tmp_path_factory.mktemp("ctc")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(vocab_size=44, **TINY)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a HuBERT model 16 wide."""
    folder = tmp_path_factory.mktemp("hubert")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.HubertModel(transformers.HubertConfig(**TINY)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    return torch.randn(5 * 16000, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize("frames", [2, 30, 59, 60, 61, 110, 250])
def test_a_row_less_than_frames_comes_out(ctc: Path, sound: torch.Tensor, frames: int) -> None:
    rows = Wav2Vec2Logits(ctc)(sound[: frames * HOP])
    assert rows.shape == (frames - 1, 44)
    assert torch.isfinite(rows).all()


def test_the_middle_of_each_stretch_is_kept(ctc: Path, sound: torch.Tensor) -> None:
    rows = Wav2Vec2Logits(ctc)(sound)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(ctc).eval()
    # The second stretch: rows 50 to 99 are heard from 10 frames earlier to 10 later.
    stretch = sound[40 * HOP : 110 * HOP]
    with torch.inference_mode():
        expected = model(normalise_sound(stretch)[None]).logits[0, 10:60]
    assert_close(rows[50:100], expected, "geometry")


def test_a_row_depends_on_its_receptive_field_only(ctc: Path, sound: torch.Tensor) -> None:
    changed = sound.clone()
    changed[-HOP * 60 :] += 0.5
    before, after = Wav2Vec2Logits(ctc)(sound), Wav2Vec2Logits(ctc)(changed)
    assert torch.equal(before[:100], after[:100])
    assert not torch.equal(before[190:], after[190:])


def test_hubert_rows_fill_a_multiple_of_eight(hubert: Path, sound: torch.Tensor) -> None:
    feature = HubertStates(hubert, width=16)
    assert feature.width == 16
    rows = feature(sound)
    assert rows.shape == (256, 16)  # 249 fit
    assert (rows[249:] == 0).all()
    assert (rows[248] != 0).any()


def test_long_sound_is_cut_without_repeating_rows(hubert: Path, sound: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_model, "_PIECE_ROWS", 100)
    rows = HubertStates(hubert, width=16)(sound)
    assert rows.shape == (256, 16)
    assert (rows[:249].abs().sum(1) > 0).all()


def test_they_say_what_they_are(ctc: Path, hubert: Path) -> None:
    features: list[AudioFeature] = [Wav2Vec2Logits(ctc), HubertStates(hubert, width=None)]
    assert [(f.rate, f.width, f.receptive_samples) for f in features] == [(50, 44, 70 * HOP), (50, 16, None)]


@pytest.mark.parametrize("rows", [0, 1, 2, 15, 16, 17, 499])
def test_windows_are_counted_as_the_tools_count(rows: int) -> None:
    values = torch.arange(1.0, rows + 1)[:, None]
    for last_half, count in ((True, rows // 2 + 1), (False, math.ceil(rows / 2))):
        windows = tool_windows(values, last_half=last_half)
        assert windows.shape == (count, 16, 1)
        for t in range(count):
            expected = [float(r + 1) if 0 <= r < rows else 0.0 for r in range(2 * t - 8, 2 * t + 8)]
            assert windows[t, :, 0].tolist() == expected


def test_what_is_not_there_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(R2TalkerError, match=r"huggingface.co/nobody/nothing-at-all .*--model"):
        Wav2Vec2Logits("nobody/nothing-at-all")
    with pytest.raises(R2TalkerError, match="holds no Wav2Vec2ForCTC"):
        Wav2Vec2Logits(tmp_path)


def test_a_model_of_another_width_is_refused(ctc: Path, hubert: Path) -> None:
    with pytest.raises(R2TalkerError, match="44 classes, expected 32"):
        Wav2Vec2Logits(ctc, width=32)
    with pytest.raises(R2TalkerError, match="16 wide, expected 1024"):
        HubertStates(hubert)


def test_a_model_without_its_head_is_refused(hubert: Path) -> None:
    with pytest.raises(R2TalkerError, match="lacks weights of Wav2Vec2ForCTC"):
        Wav2Vec2Logits(hubert)
