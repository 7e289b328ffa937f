"""Who speaks: voices are brought to one level and colour, and known from strange ones."""

import torch

from r2talker.drive.config import MotionConfig
from r2talker.drive.motion import INNER_LOWER, INNER_UPPER, MotionModel
from r2talker.drive.speaker import CONTEXT_ROWS, HISTORY_ROWS, speaker_mean, strangeness
from tests.tolerances import assert_close

VOICE, SPREAD, QUIETEST = torch.full((8,), 0.5), torch.full((8,), 0.2), -0.5


def speech(offset: torch.Tensor, rows: int = 1000) -> torch.Tensor:
    """Rows around the training voice plus an offset."""
    return VOICE + offset + 0.05 * torch.randn(rows, 8, generator=torch.Generator().manual_seed(0))


def test_the_mean_moves_from_the_training_voice_to_the_speaker() -> None:
    offset = torch.linspace(-0.2, 0.2, 8)
    mean = speaker_mean(speech(offset), VOICE, QUIETEST).float()
    assert_close(mean[0], VOICE, "first row's share")
    assert_close(mean[-1] - VOICE, offset * HISTORY_ROWS / (HISTORY_ROWS + 50), "first row's share")


def test_what_is_long_past_does_not_count() -> None:
    rows = speech(torch.zeros(8), 2000)
    changed = rows.clone()
    changed[: 2000 - CONTEXT_ROWS - 1] += 0.3
    before, after = (speaker_mean(values, VOICE, QUIETEST)[-1] for values in (rows, changed))
    assert_close(after, before, "streamed landmarks")


def test_colour_is_strange_and_level_is_not() -> None:
    tilt = torch.linspace(-0.2, 0.2, 8)
    own, louder, other = (
        strangeness(speaker_mean(speech(offset), VOICE, QUIETEST), VOICE, SPREAD)
        for offset in (torch.zeros(8), torch.full((8,), 0.4), tilt)
    )
    assert own.max() == 0
    assert louder.max() == 0
    assert other[0] == 0  # nobody is strange before he has spoken
    assert other[-1] == 1


def lip_model() -> MotionModel:
    """A model whose first component opens the lips by 1 and whose second moves the jaw."""
    model = MotionModel(MotionConfig(hidden=8, members=1, components=2, syllables=0.5)).eval()
    model.basis[0, INNER_UPPER, 1], model.basis[0, INNER_LOWER, 1] = 0.5, -0.5
    model.basis[1, 8, 1] = 1.0
    model.closed.copy_(torch.tensor([-1.5, 0.2]))
    return model


def test_the_own_voice_is_left_to_the_networks() -> None:
    model, given = lip_model(), torch.tensor([[0.3, 0.1], [1.0, -1.0]])
    assert_close(model.follow_syllables(given, torch.tensor([0.3, -1.0]), torch.zeros(2)), given, "geometry")


def test_a_strange_voice_opens_with_loudness_and_closes_in_pauses() -> None:
    model, given = lip_model(), torch.zeros(4, 2)
    level = torch.tensor([-1.0, -0.25, 0.0, 0.25])
    made = model.follow_syllables(given, level, torch.ones(4))
    assert_close(made[0], model.closed, "geometry")
    assert_close(made[1:, 0], torch.tensor([-0.5, 0.0, 0.5]), "geometry")
    assert_close(made[1:, 1], torch.zeros(3), "geometry")
    half = model.follow_syllables(given, level, torch.full((4,), 0.5))
    assert_close(half[0], model.closed / 2 + torch.tensor([-0.3, 0.0]), "geometry")
