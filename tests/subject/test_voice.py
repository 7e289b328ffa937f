"""The synthetic voice, and that the mouth can be read from it."""

import numpy as np
import pytest
from scipy.signal import stft

from r2talker.subject.phones import PHONES
from r2talker.subject.voice import Speech, synthesise_speech
from tests.tolerances import TOLERANCES

RATE, FPS = 16000, 25


def loudness(speech: Speech) -> np.ndarray:
    """Root mean square of the 40 ms around every picture."""
    frames = len(speech.articulation.open)
    padded = np.pad(speech.samples, (320, 320))
    return np.array([np.sqrt((padded[640 * t : 640 * t + 640] ** 2).mean()) for t in range(frames)])


def band_energies(speech: Speech, context: int) -> np.ndarray:
    """Logarithms of 24 bands, with `context` pictures to either side, plus a constant."""
    _, _, spectrum = stft(speech.samples, RATE, nperseg=640, noverlap=0, boundary="zeros", padded=True)
    edges = np.unique(np.geomspace(4, 320, 25).astype(int))
    bands = np.log(np.add.reduceat(np.abs(spectrum) ** 2, edges[:-1], axis=0) + 1e-8).T[: len(speech.articulation.open)]
    padded = np.pad(bands, ((context, context), (0, 0)), mode="edge")
    windows = [padded[k : k + len(bands)] for k in range(2 * context + 1)]
    return np.concatenate([*windows, np.ones((len(bands), 1))], 1)


def test_equal_arguments_give_equal_speech() -> None:
    first, second, other = (synthesise_speech(3.0, seed) for seed in (1, 1, 2))
    assert (first.samples == second.samples).all()
    assert first.phones == second.phones
    assert first.phones != other.phones


def test_length_and_range() -> None:
    speech = synthesise_speech(3.3, 0)
    assert len(speech.samples) == round(3.3 * RATE)
    assert 0.5 < np.abs(speech.samples).max() <= 1
    assert len(speech.articulation.open) == round(3.3 * FPS)
    assert speech.articulation.open.min() >= 0
    assert speech.articulation.open.max() <= 1
    assert np.abs(speech.articulation.width).max() <= 1


def test_lips_are_shut_in_bilabials() -> None:
    speech = synthesise_speech(30.0, 3)
    ends = np.append(speech.starts[1:], 30.0)
    shut = [(a + b) / 2 for a, b, phone in zip(speech.starts, ends, speech.phones, strict=True) if phone in ("m", "b", "p")]
    assert len(shut) > 15
    frames = np.round(np.array(shut) * FPS).astype(int)
    frames = frames[frames < len(speech.articulation.open)]
    # The nearest picture may be 20 ms from the middle of the closure.
    assert speech.articulation.open[frames].mean() < 0.25 * speech.articulation.open[loudness(speech) > 0.1].mean()
    assert speech.articulation.press[frames].mean() > 0.5


def test_pauses_are_silent() -> None:
    speech = synthesise_speech(20.0, 4)
    ends = np.append(speech.starts[1:], 20.0)
    for start, end, phone in zip(speech.starts, ends, speech.phones, strict=True):
        if phone == "pause" and end - start > 0.2:
            # What rings on from the sound before has died away by the middle.
            quiet = speech.samples[int((start + 0.12) * RATE) : int((end - 0.05) * RATE)]
            assert np.abs(quiet).max() < 0.02


def test_a_wider_mouth_is_louder() -> None:
    speech = synthesise_speech(16.0, 0)
    assert np.corrcoef(loudness(speech), speech.articulation.open)[0, 1] > 0.7


@pytest.mark.parametrize("name", ["open", "width"])
def test_mouth_can_be_read_from_the_sound_of_other_words(name: str) -> None:
    train, held_out = synthesise_speech(40.0, 10), synthesise_speech(15.0, 11)
    inputs, target = band_energies(train, 3), getattr(train.articulation, name)
    weights = np.linalg.solve(inputs.T @ inputs + 3.0 * np.eye(inputs.shape[1]), inputs.T @ target)
    predicted = band_energies(held_out, 3) @ weights
    assert np.corrcoef(predicted, getattr(held_out.articulation, name))[0, 1] > 0.8


def test_pitch_is_as_asked() -> None:
    """The spacing of voiced pulses, by autocorrelation of the loudest second."""
    for pitch in (100.0, 200.0):
        samples = synthesise_speech(6.0, 2, pitch=pitch).samples.astype(np.float64)
        spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
        similarity = np.fft.irfft(spectrum)[: RATE // 60]
        lag = RATE // 300 + np.argmax(similarity[RATE // 300 :])
        assert RATE / lag == pytest.approx(pitch, rel=TOLERANCES["pitch of the voice"].rtol)


def test_phones_span_what_lips_can_do() -> None:
    assert {phone.press for phone in PHONES.values()} >= {0, 1}
    assert min(phone.width for phone in PHONES.values()) == -1
    assert max(phone.width for phone in PHONES.values()) == 1
