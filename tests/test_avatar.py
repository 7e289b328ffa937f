"""Avatars on disk and what moves them: loading, refusing, every drive, videos."""

import dataclasses
import errno
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder, read_avatar_info, write_avatar_info
from r2talker.compatibility import UPSTREAM
from r2talker.data.dataset import Dataset
from r2talker.data.regions import padded_region
from r2talker.drive.life import LifeStyle
from r2talker.errors import R2TalkerError
from r2talker.subject.voice import synthesise_speech
from tests.tiny import SIZE, TRAIN_FRAMES, TRAIN_SIZE, Interrupting
from tests.tolerances import TOLERANCES, assert_close

UPPER_FACE = [*range(17, 27), *range(36, 48)]
FRAME = 640
"""Samples of one frame at 16 kHz and 25 fps."""


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """1.2 s of a sentence that the avatar has not heard."""
    return synthesise_speech(2.0, 77).samples[8000 : 8000 + 30 * FRAME]


@pytest.fixture
def folder(trained: Callable[[str], Path], tmp_path: Path) -> AvatarFolder:
    """An avatar's own files in a place where they may be damaged."""
    source = AvatarFolder(trained("geneface"))
    copy = AvatarFolder(tmp_path / "copy.avatar")
    copy.root.mkdir()
    for path in (source.info, source.weights, source.background):
        shutil.copy(path, copy.root)
    return copy


# ---- on disk


def test_saved_and_loaded_it_renders_the_same_bits(avatar: Avatar, speech: np.ndarray, tmp_path: Path) -> None:
    avatar.save(tmp_path / "b.avatar")
    again = Avatar.load(tmp_path / "b.avatar", device="cpu")
    assert again.info == avatar.info
    assert np.array_equal(again.background, avatar.background)
    for first, second in zip(avatar.render(audio=speech, frames=3), again.render(audio=speech, frames=3), strict=True):
        assert np.array_equal(first, second)


def test_loading_leaves_it_ready_to_render(avatar: Avatar) -> None:
    assert avatar.device == torch.device("cpu")
    assert not avatar.model.training
    assert not any(parameter.requires_grad for parameter in avatar.model.parameters())


def test_a_failed_save_leaves_nothing_that_loads(avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    avatar.save(tmp_path / "a.avatar")
    rename = Path.replace

    def refuse_weights(self: Path, target: Path) -> Path:
        if target.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse_weights)
    with pytest.raises(R2TalkerError, match=r"cannot write .*weights\.safetensors: No space left on device; free some space"):
        avatar.save(tmp_path / "a.avatar")
    with pytest.raises(R2TalkerError, match="not a finished avatar"):
        Avatar.load(tmp_path / "a.avatar")
    assert sorted(path.name for path in (tmp_path / "a.avatar").iterdir()) == ["background.png", "weights.safetensors"]


def edit_info(folder: AvatarFolder, **changes: object) -> None:
    folder.info.write_text(json.dumps(json.loads(folder.info.read_text()) | changes))


def edit_weights(folder: AvatarFolder, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder.weights)
    change(tensors)
    save_file(tensors, folder.weights)


def test_a_torso_of_an_older_avatar_follows_nothing(folder: AvatarFolder) -> None:
    content = json.loads(folder.info.read_text())
    del content["model"]["torso"]["follow"]
    folder.info.write_text(json.dumps(content))
    torso = Avatar.load(folder.root, device="cpu").info.model.torso
    assert torso is not None
    assert torso.follow is None


Damage = Callable[[AvatarFolder], object]
EYE, GAIN, CODES = "track.eye", "motion.gain", "model.head.individual_codes"
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    # what happens to the folder; the file that the answer names; what it says
    "no folder": (lambda f: shutil.rmtree(f.root), "copy.avatar", "not a finished avatar"),
    "no avatar.json": (lambda f: f.info.unlink(), "copy.avatar", "not a finished avatar.*r2talker create"),
    "no JSON": (lambda f: f.info.write_text("oops"), "avatar.json", "not valid JSON"),
    "a dataset's": (lambda f: edit_info(f, format="r2talker-dataset"), "avatar.json", "does not describe"),
    "newer version": (lambda f: edit_info(f, version=2), "copy.avatar", "has avatar version 2.*reads version 1"),
    "no model": (lambda f: edit_info(f, model={}), "avatar.json", "incomplete"),
    "unknown method": (lambda f: edit_info(f, method="nerf"), "nerf", "no method 'nerf'"),
    "no weights": (lambda f: f.weights.unlink(), "weights.safetensors", "is missing; copy"),
    "cut weights": (lambda f: f.weights.write_bytes(f.weights.read_bytes()[:5000]), "weights.safetensors", "is broken"),
    "empty weights": (lambda f: f.weights.write_bytes(b""), "weights.safetensors", "is broken"),
    "no codes": (lambda f: edit_weights(f, lambda t: t.pop(CODES)), "weights.safetensors", f"{CODES} is missing"),
    "no gain": (lambda f: edit_weights(f, lambda t: t.pop(GAIN)), "weights.safetensors", f"{GAIN} is missing"),
    "no eye": (lambda f: edit_weights(f, lambda t: t.pop(EYE)), "weights.safetensors", f"no tensor {EYE}"),
    "misshaped": (
        lambda f: edit_weights(f, lambda t: t.update({CODES: torch.zeros(2, 3)})),
        "weights.safetensors",
        rf"{CODES} has shape \[2, 3\] instead of \[54, 4\]",
    ),
    "unexpected": (
        lambda f: edit_weights(f, lambda t: t.update({"model.hat": torch.zeros(2)})),
        "weights.safetensors",
        r"model\.hat is unexpected",
    ),
    "two at once": (
        lambda f: edit_weights(f, lambda t: (t.pop(CODES), t.update({"model.hat": torch.zeros(2)}))),
        "weights.safetensors",
        rf"{CODES} is missing; model\.hat is unexpected",
    ),
    "no background": (lambda f: f.background.unlink(), "background.png", "cannot read"),
    "broken background": (lambda f: f.background.write_bytes(b"\x89PNG"), "background.png", "cannot read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_avatar_is_refused_by_name(folder: AvatarFolder, damage: str) -> None:
    change, file, words = DAMAGES[damage]
    change(folder)
    with pytest.raises(R2TalkerError, match=words) as caught:
        Avatar.load(folder.root)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_description_survives_a_round_trip(avatar: Avatar, audio_avatar: Avatar, tmp_path: Path) -> None:
    for number, info in enumerate((avatar.info, audio_avatar.info)):
        target = AvatarFolder(tmp_path / str(number))
        write_avatar_info(target, info)
        assert read_avatar_info(target) == info


# ---- what moves it


def test_without_a_drive_the_clip_is_replayed(avatar: Avatar) -> None:
    plan = avatar.plan()
    assert len(plan.windows) == len(plan.eye) == len(plan.c2w) == TRAIN_FRAMES
    assert torch.equal(plan.eye, avatar.track.eye)
    assert torch.equal(plan.windows[:, 2], avatar.track.displacements)  # the middle of five


def test_sound_makes_frames_of_forty_milliseconds(
    avatar: Avatar, audio_avatar: Avatar, speech: np.ndarray, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "speech.wav", speech, 16000, subtype="FLOAT")
    for driven in (avatar, audio_avatar):
        plan = driven.plan(audio=speech)
        assert len(plan.windows) == 30
        assert_close(driven.plan(audio=tmp_path / "speech.wav").windows, plan.windows, "sound through a file")
        assert len(driven.plan(audio=str(tmp_path / "speech.wav"), frames=4).windows) == 4
        assert len(driven.plan(audio=speech[: 3 * FRAME + 400]).windows) == 4


def test_sound_longer_than_the_clip_replays_its_poses_to_and_fro(avatar: Avatar) -> None:
    plan = avatar.plan(audio=np.zeros(2 * TRAIN_FRAMES * FRAME, np.float32))
    assert torch.equal(plan.c2w[TRAIN_FRAMES:], plan.c2w[:TRAIN_FRAMES].flip(0))
    assert torch.equal(plan.eye[TRAIN_FRAMES:], plan.eye[:TRAIN_FRAMES].flip(0))


def test_brows_and_eyes_come_from_the_clip_while_it_speaks(avatar: Avatar, speech: np.ndarray) -> None:
    middle = avatar.plan(audio=speech).windows[:, 2]
    assert torch.equal(middle[:, UPPER_FACE], avatar.track.displacements[:30, UPPER_FACE])
    assert not torch.equal(middle[:, 48:], avatar.track.displacements[:30, 48:])


def test_head_and_blinks_can_live_on_their_own(avatar: Avatar, audio_avatar: Avatar, speech: np.ndarray) -> None:
    long = np.tile(speech, 10)
    for driven in (avatar, audio_avatar):
        replayed, alive = (driven.plan(audio=long, life=life) for life in (None, LifeStyle("speech", "new")))
        assert len(alive.c2w) == len(replayed.c2w) == 300
        assert not torch.equal(alive.c2w, replayed.c2w)
        assert not torch.equal(alive.eye, replayed.eye)
        assert alive.eye.min() < 0.5 * alive.eye.median()


def test_a_head_cannot_follow_speech_that_is_not_there(avatar: Avatar, speech: np.ndarray) -> None:
    with pytest.raises(R2TalkerError, match="the drive has none; replay"):
        avatar.plan(life=LifeStyle("speech"))
    track = dataclasses.replace(avatar.track, loudness=None)
    with pytest.raises(R2TalkerError, match="the clip of this avatar has none; replay"):
        dataclasses.replace(avatar, track=track).plan(audio=speech, life=LifeStyle("speech"))


def test_landmarks_drive_frame_by_frame(avatar: Avatar) -> None:
    landmarks = torch.linspace(-0.5, 0.5, 7 * 68 * 3).reshape(7, 68, 3)
    plan = avatar.plan(landmarks=landmarks)
    assert torch.equal(plan.windows[:, 2], landmarks)
    pictures = list(avatar.render(landmarks=landmarks, size=16, poses=0, eye=0.2))
    assert len(pictures) == 7
    assert not np.array_equal(pictures[0], pictures[6])


def test_features_drive_the_methods_that_hear(audio_avatar: Avatar, data: Dataset) -> None:
    features = data.audio["mel"][:4]
    assert torch.equal(audio_avatar.plan(features=features.double()).windows[:, 4], features)  # the fifth of eight
    pictures = list(audio_avatar.render(features=features, size=16))
    assert len(pictures) == 4


def test_poses_are_held_given_or_replayed(avatar: Avatar) -> None:
    held = avatar.plan(poses=5).c2w
    assert held.shape == (TRAIN_FRAMES, 4, 4)
    assert torch.equal(held, avatar.track.c2w[5].expand_as(held))
    three = avatar.track.c2w[[9, 20, 40]]
    assert torch.equal(avatar.plan(poses=three, frames=7).c2w, three[[0, 1, 2, 2, 1, 0, 0]])
    replayed = avatar.plan().c2w
    assert_close(replayed[:, :3, 3], avatar.track.c2w[:, :3, 3], "smoothed path")
    turned, frontal = (next(iter(avatar.render(poses=pose, size=32))) for pose in (3, 40))
    assert not np.array_equal(turned, frontal)


def test_the_eye_value_is_held_within_what_was_trained_and_seen(avatar: Avatar) -> None:
    least, most = float(avatar.track.eye.min()), float(avatar.track.eye.max())
    middle = float(torch.tensor((least + most) / 2))
    plans = [avatar.plan(eye=value, poses=0, frames=1) for value in (-1.0, middle, 9.0)]
    assert [float(plan.eye) for plan in plans] == [least, middle, most]
    shut, _, wide = (next(iter(avatar.render_plan(plan, size=32))).rgb for plan in plans)
    assert not torch.equal(shut, wide)
    theirs = dataclasses.replace(avatar, info=dataclasses.replace(avatar.info, window_edge=UPSTREAM.window_edge))
    assert float(theirs.plan(eye=9.0, poses=0, frames=1).eye) == 9.0


@pytest.mark.parametrize(
    "background", [(300, 0, 0), (-1, 0, 0), (0, 0), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_a_background_that_is_none_is_refused(avatar: Avatar, background: object) -> None:
    with pytest.raises(R2TalkerError, match=r"picture .* or a colour of three numbers from 0 to 255"):
        next(iter(avatar.render(background=background, size=16, frames=1)))  # type: ignore[arg-type]


def test_the_background_is_a_colour_a_picture_or_the_clips(avatar: Avatar) -> None:
    halves = np.zeros((10, 20, 3), np.uint8)
    halves[:, 10:] = (255, 0, 0)
    black, green, split, own = (
        next(iter(avatar.render(background=background, size=48))).astype(int)
        for background in ((0, 0, 0), (0, 255, 0), halves, None)
    )
    left, right, face = (0, 0), (0, -1), (slice(20, 28), slice(20, 28))
    # A scarcely trained torso lies over everything like a veil: it lets through some half of the background, the same share of any colour.
    share = (green - black)[..., 1]
    assert 100 < share[left] < 200
    assert 100 < share[right] < 200
    assert abs((split - black)[right][0] - share[right]) <= 1
    assert (split - black)[left].tolist() == [0, 0, 0]
    assert (green - black)[..., [0, 2]].max() == 0
    # The person stands in front of it.
    assert (green - black)[face].mean() < 20
    veil = avatar.render(background=avatar.background, size=48)
    assert np.array_equal(own, next(iter(veil)))


@pytest.mark.parametrize("size", [1, 33, TRAIN_SIZE, None])
def test_pictures_have_the_size_asked_for(avatar: Avatar, size: int | None) -> None:
    picture = next(iter(avatar.render(size=size)))
    assert picture.shape == ((size or TRAIN_SIZE),) * 2 + (3,)
    assert picture.dtype == np.uint8


def test_other_sizes_show_the_same(avatar: Avatar) -> None:
    small, large = (next(iter(avatar.render(size=size))) for size in (TRAIN_SIZE // 2, TRAIN_SIZE))
    reduced = cv2.resize(large, (TRAIN_SIZE // 2,) * 2, interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - small).mean() < TOLERANCES["another size"].atol


def test_frames_stop_the_rendering_but_do_not_stretch_it(avatar: Avatar) -> None:
    assert len(avatar.plan(frames=3).windows) == 3
    assert len(avatar.plan(frames=10**6).windows) == TRAIN_FRAMES


NOISE = np.zeros(8 * FRAME, np.float32)
POINTS = torch.zeros(4, 68, 3)
ROWS = torch.zeros(4, 16, 64)
REFUSED = {
    "two drives": ("avatar", {"audio": NOISE, "landmarks": POINTS}, "one thing at a time, got audio and landmarks"),
    "three drives": ("avatar", {"audio": NOISE, "landmarks": POINTS, "features": ROWS}, "audio and landmarks and features"),
    "features for landmarks": ("avatar", {"features": ROWS}, "r2talker is driven by landmarks, not audio features"),
    "landmarks for features": ("audio_avatar", {"landmarks": POINTS}, "radnerf is driven by audio features, not landmarks"),
    "nothing to replay": ("audio_avatar", {}, "no motion of its own to replay; pass audio or features"),
    "flat landmarks": ("avatar", {"landmarks": POINTS.flatten(1)}, r"landmarks of shape \[frames, 68, 3\], got \[4, 204\]"),
    "narrow features": ("audio_avatar", {"features": ROWS[..., :9]}, r"features of shape \[frames, 16, 64\], got \[4, 16, 9\]"),
    "flat poses": ("avatar", {"poses": torch.eye(4)}, r"poses of shape \[frames, 4, 4\], got \[4, 4\]"),
    "a pose too far": ("avatar", {"poses": TRAIN_FRAMES}, "poses 0 to 53, got 54"),
    "a pose below": ("avatar", {"poses": -1}, "poses 0 to 53, got -1"),
    "no landmarks": ("avatar", {"landmarks": POINTS[:0]}, "nothing to render"),
    "a click": ("avatar", {"audio": NOISE[:300]}, "nothing to render.*40 ms"),
    "a click to hear": ("audio_avatar", {"audio": NOISE[:300]}, "nothing to render.*40 ms"),
    "no frames": ("avatar", {"frames": 0}, "at least one frame.*got frames = 0"),
    "negative frames": ("avatar", {"frames": -2}, "at least one frame"),
    "no size": ("avatar", {"size": 0}, "must be positive, got 0"),
    "negative size": ("avatar", {"size": -8}, "must be positive, got -8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_drives_that_do_not_fit_are_refused(case: str, request: pytest.FixtureRequest) -> None:
    name, drive, words = REFUSED[case]
    with pytest.raises(R2TalkerError, match=words) as caught:
        next(iter(request.getfixturevalue(name).render(**drive)))
    assert "\n" not in str(caught.value)


def test_an_avatar_of_a_silent_clip_cannot_speak(avatar: Avatar, speech: np.ndarray) -> None:
    silent = dataclasses.replace(avatar, motion=None)
    with pytest.raises(R2TalkerError, match=r"no landmark generator.*without sound.*landmarks instead of audio"):
        silent.plan(audio=speech)
    assert len(silent.plan().windows) == TRAIN_FRAMES


def test_speech_moves_the_mouth_and_silence_does_not(avatar: Avatar, data: Dataset, speech: np.ndarray) -> None:
    # Brows and eyes that hold still, so that nothing moves but what the sound moves.
    held, eye = avatar.track.displacements[:1].expand(TRAIN_FRAMES, 68, 3), avatar.track.eye[:1].expand(TRAIN_FRAMES)
    track = dataclasses.replace(avatar.track, displacements=held, eye=eye)
    still, size = dataclasses.replace(avatar, track=track), TRAIN_SIZE // 2
    lips = padded_region(data.pixels[0, 48:] * (size / SIZE), 0.2, size)

    def mouth(audio: np.ndarray) -> float:
        """Mean change of the mouth from frame to frame, 8-bit steps, with pose and eyes held."""
        frames = [f.rgb for f in still.render_plan(still.plan(audio=audio, poses=0, eye=0.2), size=size)]
        region = torch.stack(frames)[:, lips.top : lips.bottom, lips.left : lips.right]
        return float(region.diff(dim=0).abs().mean()) * 255

    spoken, silent = mouth(speech), mouth(speech * 0)
    assert spoken > 5 * silent
    assert spoken > 0.3


def test_frames_are_let_go_one_by_one(avatar: Avatar) -> None:
    """However long the speech, no more than the frame in hand and the one before it are alive."""
    plan = avatar.plan(audio=np.zeros(60 * FRAME, np.float32), poses=0)
    alive: list[weakref.ref[object]] = []
    rendered = avatar.render_plan(plan, size=4)
    for frame in rendered:
        alive = [reference for reference in [*alive, weakref.ref(frame), weakref.ref(frame.rgb)] if reference() is not None]
        assert len(alive) <= 4
    assert len(plan.windows) == 60


def test_batches_of_windows_leave_no_seam(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [frame.rgb for frame in avatar.render_plan(avatar.plan(frames=5), size=16)]
    monkeypatch.setattr("r2talker.avatar.BATCH", 2)
    parts = [frame.rgb for frame in avatar.render_plan(avatar.plan(frames=5), size=16)]
    assert_close(torch.stack(parts), torch.stack(whole), "frames at once")


def test_batches_hold_the_pictures_of_the_plan(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r2talker.avatar.BATCH", 3)
    plan = avatar.plan(frames=5)
    frames = [(frame.rgb * 255).round().byte().numpy() for frame in avatar.render_plan(plan, size=16)]
    batches = list(avatar.render_batches(plan, size=16))
    assert np.array_equal(np.concatenate(batches), frames)
    assert np.array_equal(list(avatar.render(frames=5, size=16)), frames)


# ---- videos


def test_a_video_with_sound_and_poster(avatar: Avatar, speech: np.ndarray, tmp_path: Path) -> None:
    target = tmp_path / "new" / "talk.mp4"
    assert avatar.render_video(target, audio=speech, size=32) == 30
    with av.open(str(target)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert video.codec_context.name == "h264"
        assert (video.width, video.height, float(video.average_rate)) == (32, 32, 25.0)
        seconds = float(sound.duration * sound.time_base)
        assert sum(1 for _ in container.decode(video)) == 30
    assert seconds == pytest.approx(30 / 25, abs=TOLERANCES["sound beside pictures"].atol)
    with av.open(str(target)) as container:
        heard = np.concatenate([block.to_ndarray()[0] for block in container.decode(audio=0)])
    assert np.abs(heard).max() > 0.3 * np.abs(speech).max()
    assert cv2.imread(str(target.with_suffix(".png"))).shape == (32, 32, 3)
    assert sorted(path.name for path in target.parent.iterdir()) == ["talk.mp4", "talk.png"]


def test_the_sound_ends_with_the_last_frame(avatar: Avatar, speech: np.ndarray, tmp_path: Path) -> None:
    avatar.render_video(tmp_path / "cut.mp4", audio=speech, size=16, frames=10)
    with av.open(str(tmp_path / "cut.mp4")) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(0.4, abs=TOLERANCES["sound beside pictures"].atol)
        assert sum(1 for _ in container.decode(video=0)) == 10


def test_replay_has_no_sound_track(avatar: Avatar, tmp_path: Path) -> None:
    avatar.render_video(tmp_path / "replay.mp4", size=17, frames=3)
    with av.open(str(tmp_path / "replay.mp4")) as container:
        assert not container.streams.audio
        assert container.streams.video[0].width == 18  # H.264 wants even sides
    assert cv2.imread(str(tmp_path / "replay.png")).shape == (17, 17, 3)


def test_silence_still_renders(avatar: Avatar, audio_avatar: Avatar, tmp_path: Path) -> None:
    for driven in (avatar, audio_avatar):
        assert driven.render_video(tmp_path / "quiet.mp4", audio=np.zeros(5 * FRAME, np.float32), size=16) == 5
        pictures = list(driven.render(audio=np.zeros(5 * FRAME, np.float32), size=16))
        assert np.std(pictures[0]) > 10


def test_an_interrupted_video_leaves_the_old_one_alone(avatar: Avatar, speech: np.ndarray, tmp_path: Path) -> None:
    for before in (None, b"the film of yesterday"):
        if before is not None:
            (tmp_path / "talk.mp4").write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            avatar.render_video(tmp_path / "talk.mp4", audio=speech, size=16, progress=Interrupting("render", 3))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if before is None else {"talk.mp4": before})
