"""Sound in pieces gives what the whole sound gives, in time, in bounded memory."""

import pytest
import torch
from torch.nn.functional import pad

from r2talker.drive.config import MotionConfig
from r2talker.drive.driver import BLOCK_SAMPLES, Driver, generate_landmarks, listen_through
from r2talker.drive.log_mel import frame_count
from r2talker.drive.motion import MotionModel
from r2talker.drive.steadier import Steadier
from r2talker.errors import R2TalkerError
from tests.tolerances import assert_close

RATE = 16000


@pytest.fixture(scope="module")
def model() -> MotionModel:
    """Random weights and a basis that moves every landmark, within a range wide enough not to hide differences."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MotionModel(MotionConfig(hidden=32, members=2, components=5, remembered=20)).eval()
    model.basis.copy_(torch.randn(model.basis.shape, generator=generator) * 0.1)
    model.known.copy_(torch.randn(model.known.shape, generator=generator) * 0.1)
    model.pace.fill_(0.05)
    model.band_std.fill_(0.2)
    model.landmark_min.fill_(-10)
    model.landmark_max.fill_(10)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    """20.3 s of noise whose level rises, falls and pauses, so that the speaker's mean has something to follow."""
    generator = torch.Generator().manual_seed(1)
    length = int(20.3 * RATE)
    level = torch.nn.functional.interpolate(torch.rand(1, 1, 60, generator=generator), size=length, mode="linear")[0, 0]
    level[5 * RATE : 7 * RATE] = 0
    return torch.randn(length, generator=generator) * 0.2 * level.square()


def in_pieces(driver: Driver, sound: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Push pieces of the given sizes in turn, then flush."""
    made, first, turn = [], 0, 0
    while first < len(sound):
        size = sizes[turn % len(sizes)]
        made.append(driver.push(sound[first : first + size]))
        first, turn = first + size, turn + 1
    return torch.cat([*made, driver.flush()])


@pytest.mark.parametrize("sizes", [[640], [1600], [1, 7, 319, 320, 321, 4096], [100_000], [0, 5000]])
def test_pieces_give_what_the_whole_gives(model: MotionModel, sound: torch.Tensor, sizes: list[int]) -> None:
    part = sound[: 3 * RATE] if min(sizes) < 320 else sound
    streamed, whole = in_pieces(Driver(model), part, sizes), generate_landmarks(model, part)
    assert_close(streamed, whole, "streamed landmarks")


def test_the_whole_is_what_the_networks_say_of_all_rows_at_once(model: MotionModel, sound: torch.Tensor) -> None:
    heard, frames = model.hear(model.log_mel(sound)), frame_count(len(sound))
    level = pad(heard.level, (2, 4), value=-1.0).unfold(0, 6, 2).mean(1)[:frames]
    coefficients = model.coefficients(model.windows(heard.features, frames))
    coefficients = model.follow_syllables(coefficients, level, heard.strangeness[::2][:frames])
    expected = Steadier(model.pace.item(), model.config.tremble).advance(model.landmarks(coefficients))
    assert heard.strangeness.max() == 1
    assert_close(generate_landmarks(model, sound), expected, "streamed landmarks")


def test_a_frame_comes_as_soon_as_its_look_ahead_is_heard(model: MotionModel, sound: torch.Tensor) -> None:
    driver, made, wait = Driver(model), 0, model.config.look_ahead_ms * 16
    for first in range(0, 2 * RATE, 160):
        made += len(driver.push(sound[first : first + 160]))
        heard = first + 160
        assert made >= max(0, (heard - wait) // 640)
        assert made <= heard // 640


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 0), (319, 0), (320, 1), (16000, 25), (16321, 26)])
def test_flush_makes_the_rounded_seconds(model: MotionModel, samples: int, frames: int) -> None:
    driver = Driver(model)
    assert len(driver.push(torch.zeros(samples))) + len(driver.flush()) == frames


def test_utterances_do_not_see_each_other(model: MotionModel, sound: torch.Tensor) -> None:
    driver, part = Driver(model), sound[: 2 * RATE]
    first = torch.cat([driver.push(part), driver.flush()])
    assert torch.equal(torch.cat([driver.push(part), driver.flush()]), first)
    driver.push(sound[RATE:])
    driver.reset()
    assert driver.received == 0
    assert torch.equal(torch.cat([driver.push(part), driver.flush()]), first)


def test_what_is_kept_does_not_grow(model: MotionModel) -> None:
    driver = Driver(model)

    def kept() -> int:
        return sum(value.untyped_storage().nbytes() for value in vars(driver).values() if isinstance(value, torch.Tensor))

    minute = torch.randn(60 * RATE, generator=torch.Generator().manual_seed(2)) * 0.1
    driver.push(minute)
    after_one = kept()
    for _ in range(3):
        driver.push(minute)
    assert kept() <= after_one
    assert after_one < 1_000_000


def test_long_pieces_are_worked_off_in_blocks(model: MotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = []
    inner = model.log_mel.inner_rows
    monkeypatch.setattr(model.log_mel, "inner_rows", lambda samples: (longest.append(len(samples)), inner(samples))[1])
    Driver(model).push(torch.zeros(5 * BLOCK_SAMPLES))
    assert max(longest) < 1.1 * BLOCK_SAMPLES


def test_loudness_belongs_to_the_frames(model: MotionModel) -> None:
    sound = torch.randn(4 * RATE, generator=torch.Generator().manual_seed(3)) * 0.1
    sound[RATE : 2 * RATE] = 0
    heard = listen_through(model, sound)
    assert len(heard.loudness) == len(heard.landmarks) == 100
    assert (heard.loudness[30:42] < heard.loudness[60:90].min()).all()


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (torch.zeros(2, 100), "one row"),
        (torch.zeros(100, dtype=torch.int16), "floating-point"),
        (torch.tensor([0.0, float("nan")]), "not finite"),
    ],
)
def test_what_is_no_sound_is_refused_and_forgotten(model: MotionModel, samples: torch.Tensor, complaint: str) -> None:
    driver = Driver(model)
    with pytest.raises(R2TalkerError, match=complaint):
        driver.push(samples)
    assert driver.received == 0


def test_a_model_in_training_is_refused(model: MotionModel) -> None:
    with pytest.raises(ValueError, match="eval"):
        Driver(MotionModel(model.config))
