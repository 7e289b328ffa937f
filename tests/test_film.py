"""Films of an avatar: planes from a GPU or pictures from a CPU, and the poster."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from r2talker.avatar import Avatar
from r2talker.media.write import VideoWriter
from tests.tolerances import TOLERANCES, assert_close


def test_the_poster_is_the_middle_picture(avatar: Avatar, tmp_path: Path) -> None:
    for planar, name in ((False, "pictures.mp4"), (True, "planes.mp4")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("r2talker.render.host.PLANAR_ON", ("cpu",) if planar else ())
            avatar.render_video(tmp_path / name, size=17, frames=5)
        poster = cv2.imread(str((tmp_path / name).with_suffix(".png")))[..., ::-1]
        assert np.array_equal(poster, list(avatar.render(size=17, frames=5))[2])


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)])


def test_a_film_of_planes_shows_the_same(avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a GPU, which hands over planes."""
    # Without loss, because x264 does not always decide alike twice.
    monkeypatch.setitem(VideoWriter.__init__.__kwdefaults__, "quality", 0)
    avatar.render_video(tmp_path / "pictures.mp4", size=33, frames=6)
    monkeypatch.setattr("r2talker.render.host.PLANAR_ON", ("cpu",))
    monkeypatch.setattr("r2talker.media.write.VideoWriter.write", None)
    avatar.render_video(tmp_path / "planes.mp4", size=33, frames=6)
    planes, pictures = decode(tmp_path / "planes.mp4"), decode(tmp_path / "pictures.mp4")
    assert planes.shape == (6, 34, 34, 3)
    assert np.abs(planes - pictures).mean() < TOLERANCES["planes or pictures"].atol


@pytest.mark.gpu
def test_a_film_from_a_gpu_shows_its_pictures(trained: Callable[[str], Path], tmp_path: Path) -> None:
    """Twenty frames are two whole batches and a part."""
    avatar = Avatar.load(trained("r2talker"), device="cuda")
    avatar.render_video(tmp_path / "talk.mp4", frames=20)
    pictures = np.stack(list(avatar.render(frames=20)))
    assert np.abs(decode(tmp_path / "talk.mp4") - pictures).mean() < TOLERANCES["colour after H.264"].atol
    poster = cv2.imread(str(tmp_path / "talk.png"))[..., ::-1]
    assert_close(poster.astype(int), pictures[10].astype(int), "one 8-bit step")
