"""What `media.read` makes of clips and sound files, good and bad."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.media.read import probe_video, read_audio, read_video
from r2talker.media.write import VideoWriter, write_wav

GREY_AFTER_H264 = 4.0
SOUND_AFTER_AAC = 0.03


def write_greys(
    path: Path, greys: list[int], fps: float, *, width: int = 64, height: int = 48, audio: np.ndarray | None = None
) -> None:
    with VideoWriter(path, width=width, height=height, fps=fps, audio=audio) as writer:
        for grey in greys:
            writer.write(np.full((height, width, 3), grey, np.uint8))


def read_greys(path: Path, **options: float) -> np.ndarray:
    return np.array([picture.mean() for picture in read_video(path, **options)])


def test_probe_says_what_the_clip_is(tmp_path: Path) -> None:
    write_greys(tmp_path / "a.mp4", [100] * 60, 30.0, audio=np.zeros(32000, np.float32))
    info = probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height, info.has_sound) == (64, 48, True)
    assert info.fps == pytest.approx(30.0)
    assert info.seconds == pytest.approx(2.0, abs=0.05)
    write_greys(tmp_path / "b.mp4", [100] * 10, 25.0)
    assert not probe_video(tmp_path / "b.mp4").has_sound


@pytest.mark.parametrize(("own", "wanted"), [(25.0, 25.0), (30.0, 25.0), (15.0, 25.0), (50.0, 25.0), (25.0, 10.0)])
def test_pictures_come_at_the_wanted_rate_and_at_their_own_time(tmp_path: Path, own: float, wanted: float) -> None:
    """Greys grow linearly in time, so the grey of a picture tells which moment it shows."""
    count = round(4 * own)
    write_greys(tmp_path / "a.mp4", [int(20 + 200 * k / count) for k in range(count)], own)
    greys = read_greys(tmp_path / "a.mp4", fps=wanted)
    assert len(greys) == round(4 * wanted)
    moments = (greys - 20) / 200 * 4
    late = moments - np.arange(len(greys)) / wanted
    assert np.abs(late).max() <= 0.5 / own + GREY_AFTER_H264 / 200 * 4


def test_only_the_wanted_pictures_come(tmp_path: Path) -> None:
    write_greys(tmp_path / "a.mp4", [20 + 10 * k for k in range(20)], 25.0)
    greys = np.array([picture.mean() for picture in read_video(tmp_path / "a.mp4", wanted={3, 4, 17})])
    assert greys == pytest.approx([50, 60, 190], abs=GREY_AFTER_H264)


def test_pictures_are_scaled_on_demand(tmp_path: Path) -> None:
    write_greys(tmp_path / "a.mp4", [90] * 3, 25.0)
    pictures = list(read_video(tmp_path / "a.mp4", size=(32, 20)))
    assert [picture.shape for picture in pictures] == [(20, 32, 3)] * 3
    assert pictures[0].dtype == np.uint8
    assert pictures[0].mean() == pytest.approx(90, abs=GREY_AFTER_H264)


def test_sound_is_mono_at_the_wanted_rate_and_in_step_with_the_pictures(tmp_path: Path) -> None:
    samples = np.zeros(32000, np.float32)
    samples[16000:16400] = 0.8 * np.sin(np.arange(400) * 0.4)
    write_greys(tmp_path / "a.mp4", [90] * 50, 25.0, audio=samples)
    heard = read_audio(tmp_path / "a.mp4")
    assert heard.dtype == np.float32
    loud = np.flatnonzero(np.abs(heard) > 0.2)
    assert loud[0] / 16000 == pytest.approx(1.0, abs=SOUND_AFTER_AAC)
    assert len(read_audio(tmp_path / "a.mp4", rate=8000)) == pytest.approx(len(heard) / 2, abs=2)


def test_stereo_wav_becomes_the_mean_of_its_channels(tmp_path: Path) -> None:
    import soundfile

    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -0.5 * tone], -1), 44100, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav")
    assert len(heard) == 16000
    expected = 0.125 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(heard - expected)[200:-200].max() < 0.005
    write_wav(tmp_path / "b.wav", heard)
    assert np.abs(read_audio(tmp_path / "b.wav") - heard).max() < 1e-4


def test_later_sound_is_preceded_by_silence(tmp_path: Path) -> None:
    """A Matroska file whose sound starts half a second after its first picture."""
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, options={})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 80, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        block = av.AudioFrame.from_ndarray(np.full((1, 8000), 16384, np.int16), format="s16", layout="mono")
        block.rate, block.pts, block.time_base = 16000, 8000, Fraction(1, 16000)
        container.mux(sound.encode(block))
        container.mux(sound.encode())
    heard = read_audio(path)
    assert np.flatnonzero(heard > 0.25)[0] == pytest.approx(8000, abs=32)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    whole = tmp_path / "whole.mp4"
    write_greys(whole, [90] * 50, 25.0)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:700])
    write_wav(tmp_path / "sound.wav", np.zeros(16000, np.float32))
    for name, expected in [
        ("missing.mp4", "does not exist"),
        (".", "is a folder"),
        ("text.mp4", "not a video"),
        ("cut.mp4", "damaged"),
        ("sound.wav", "no pictures"),
    ]:
        with pytest.raises(R2TalkerError, match=expected) as caught:
            probe_video(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(R2TalkerError, match="no sound"):
        read_audio(whole)


@pytest.mark.parametrize(("matrix", "corner"), [((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))])
def test_a_telephone_clip_is_turned_upright(tmp_path: Path, matrix: tuple[int, ...], corner: tuple[int, int]) -> None:
    """The display matrix of an mp4 (ISO 14496-12 tkhd: x' = a x + c y, y' = b x + d y) moves the white upper left corner."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255
    path = tmp_path / "a.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        for _ in range(3):
            writer.write(picture)
    content = bytearray(path.read_bytes())
    a, b, c, d = (65536 * value for value in matrix)
    place = content.index(b"tkhd") + 4 + 4 + 20 + 16
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    shown = next(read_video(path))
    height, width = shown.shape[:2]
    info = probe_video(path)
    assert (info.height, info.width) == (height, width) == ((64, 48) if matrix[0] == 0 else (48, 64))
    rows, columns = (
        slice(part * side // 2, (part + 1) * side // 2) for part, side in zip(corner, (height, width), strict=True)
    )
    assert shown[rows, columns].mean() > 230
    assert shown.mean() < 90
