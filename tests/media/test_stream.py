"""Encoders for somebody who is looking now: what comes out is decoded again."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.media.read import probe_video, read_audio, read_video
from r2talker.media.stream import (
    OPUS_LAG,
    PictureEncoder,
    Recorder,
    SoundEncoder,
    codec_string,
    decode_picture,
    decode_sound,
    encode_jpeg,
    encodes_opus,
)
from r2talker.media.write import write_wav
from tests.tolerances import assert_close


def picture(step: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth picture that moves."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * 2 + 5 * step) % 256, (y * 3) % 256, np.full_like(x, 100)], axis=-1).clip(20, 235).astype(np.uint8)


def test_every_picture_leaves_at_once_and_can_be_decoded() -> None:
    encoder = PictureEncoder(64, 48, quality=10)
    decoder, shown = av.CodecContext.create("h264", "r"), []
    for step in range(60):
        packet, key = encoder.encode(picture(0), key=step == 7)
        assert packet
        assert key == (step in (0, 7, 57))
        if key:
            assert codec_string(packet).startswith("avc1.")
        shown += decoder.decode(av.Packet(packet))
    shown += decoder.decode(None)
    assert len(shown) == 60
    for frame in (shown[0], shown[-1]):
        error = np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture(0)).mean()
        assert_close(error, 0.0, "colour after H.264 and JPEG")


def test_sides_and_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="must be even, got 63 x 48"):
        PictureEncoder(63, 48)
    with pytest.raises(ValueError, match=r"expected \[48, 64, 3\]"):
        PictureEncoder(64, 48).encode(picture(0, width=32))
    with pytest.raises(ValueError, match="no sequence parameter set"):
        codec_string(b"nothing")


def test_jpeg_comes_back() -> None:
    error = np.abs(decode_picture(encode_jpeg(picture(3), quality=95)).astype(int) - picture(3)).mean()
    assert_close(error, 0.0, "colour after H.264 and JPEG")
    for content in (b"", b"no picture"):
        with pytest.raises(R2TalkerError, match="not a picture"):
            decode_picture(content)


def test_sound_files_become_16_khz(tmp_path: Path) -> None:
    samples = (np.sin(np.arange(24000) / 24000 * 440 * 6.283) * 0.5).astype(np.float32)
    write_wav(tmp_path / "a.wav", samples, 24000)
    decoded = decode_sound((tmp_path / "a.wav").read_bytes())
    assert len(decoded) == pytest.approx(16000, abs=64)
    assert decoded.std() == pytest.approx(samples.std(), rel=0.02)
    with pytest.raises(R2TalkerError, match=r"longer than 0\.5 s"):
        decode_sound((tmp_path / "a.wav").read_bytes(), most_seconds=0.5)
    for content in (b"", b"RIFF....WAVEfmt nonsense"):
        with pytest.raises(R2TalkerError, match="sound"):
            decode_sound(content)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(R2TalkerError, match="not a sound file"):
        decode_sound(file.getvalue())


def test_a_recording_keeps_time_where_pictures_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    recorder = Recorder(str(path))
    sound = (np.sin(np.arange(32000) / 16000 * 440 * 6.283) * 8000).astype(np.int16)
    for number in range(50):
        recorder.sound(sound[number * 640 : (number + 1) * 640])
        if number % 3 == 1:
            recorder.picture(picture(number, width=64 if number < 30 else 32, height=48 if number < 30 else 24), number)
    assert recorder.close() == 50
    info = probe_video(path)
    assert (info.width, info.height, info.has_sound) == (64, 48, True)
    assert_close(len(read_audio(path)) / 16000, 2 - 1 / 25, "sound beside pictures")
    # The last picture stays as long as those before it did.
    assert 49 <= len(list(read_video(path))) <= 52


def test_a_recording_without_pictures_says_so(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "a.mp4"))
    recorder.sound(np.zeros(640, np.int16))
    assert recorder.close() == 0


def test_opus_comes_late_by_as_much_as_it_says() -> None:
    """A packet for every frame; the decoded sound lies where it was, `OPUS_LAG` samples later."""
    import av

    assert encodes_opus()
    rng = np.random.default_rng(0)
    sound = np.convolve(rng.normal(size=640 * 20), np.ones(8) / 8, "same")
    sound = (sound / np.abs(sound).max() * 20000).astype(np.int16)
    encoder = SoundEncoder()
    packets = [encoder.encode(frame) for frame in sound.reshape(-1, 640)]
    assert all(20 < len(packet) < 400 for packet in packets)
    decoder = av.CodecContext.create("opus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    parts = [frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(av.Packet(packet))]
    decoded = np.concatenate(parts)[::3]
    inner = sound[2000:9000].astype(float)
    likeness = [inner @ decoded[2000 + lag : 9000 + lag] for lag in range(300)]
    assert abs(int(np.argmax(likeness)) - OPUS_LAG) <= 2
