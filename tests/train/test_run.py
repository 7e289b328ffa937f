"""Training as a command: every method, resuming, refusing, what lies in the folder afterwards."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder, read_avatar_info
from r2talker.data.dataset import Dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.methods import available
from r2talker.ops.camera_rays.op import pose_vector
from r2talker.ops.render_torso.follow import neck_shift
from r2talker.train.body import track_body
from r2talker.train.config import TrainConfig
from r2talker.train.run import train_avatar
from tests.tiny import MOTION, TRAIN_FRAMES, TRAIN_SIZE, TRAINING, Interrupting, Recorder
from tests.tolerances import assert_close

Trained = Callable[[str], Path]
BRIEF = dataclasses.replace(TRAINING, head_steps=2, torso_steps=2, rays=64)
"""Enough where only the run's outside matters."""


def weights(avatar: Path) -> dict[str, torch.Tensor]:
    return load_file(AvatarFolder(avatar).weights)


def differing(first: Path, second: Path) -> list[str]:
    """Names of the tensors that are not bit-equal in two avatars."""
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    return [name for name, value in a.items() if not torch.equal(value, b[name])]


def read_curves(folder: Path) -> dict[str, list[float]]:
    """The scalars of a TensorBoard folder, as TensorBoard itself reads them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder)).Reload()
    return {name: [entry.value for entry in events.Scalars(name)] for name in events.Tags()["scalars"]}


def refused(words: str, *arguments: object, **options: object) -> None:
    with pytest.raises(R2TalkerError, match=words) as caught:
        train_avatar(*arguments, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", available())
def test_every_method_learns(trained: Trained, method: str) -> None:
    curves = read_curves(trained(method) / "training" / "tensorboard")
    head, torso = curves["head/psnr"], curves["torso/opacity error"]
    assert len(head) == 3
    assert head[-1] > head[0] + 1.0
    assert torso[-1] < torso[0] * 0.95


def test_a_torso_follows_the_body_of_its_clip(trained: Trained, data: Dataset) -> None:
    torso = read_avatar_info(AvatarFolder(trained("r2talker"))).model.torso
    assert torso is not None
    assert torso.follow is not None
    shift = neck_shift(torch.stack([pose_vector(c2w) for c2w in data.c2w[:TRAIN_FRAMES]]), torso.follow)
    assert_close(shift.median(0).values, 0, "usual place of the neck")
    assert torso.follow.scale == pytest.approx(2 * data.info.focal / data.info.size)
    assert shift.abs().max() > 0.02
    body = track_body(data, read_pictures(data, [*data.train, *data.held_out[:1]], size=TRAIN_SIZE))
    assert torso.follow == body.follow
    # However far it goes, the torso's coordinates stay as far inside the grid as the reference's, a few frames aside.
    assert torso.shrink * (1 + body.reach) == pytest.approx(0.8)


def test_pictures_take_the_mean_of_the_torsos_codes(trained: Trained, data: Dataset) -> None:
    folder, name = trained("r2talker"), "model.torso.individual_codes"
    learned, shown = load_file(folder / "training" / "checkpoint.safetensors")[name], weights(folder)[name]
    assert_close(shown[0], learned[data.kept].mean(0), "mean of codes")
    assert (shown[0] - learned[0]).abs().max() > 0.01
    assert torch.equal(shown[1:], learned[1:])


def test_what_lies_in_the_folder(trained: Trained) -> None:
    folder = trained("r2talker")
    for phase in ("head", "torso"):
        assert cv2.imread(str(folder / "training" / f"preview_{phase}.png")).shape == (TRAIN_SIZE, 2 * TRAIN_SIZE, 3)
    assert json.loads((folder / "training" / "settings.json").read_text())["head_steps"] == TRAINING.head_steps
    assert len(list((folder / "training" / "tensorboard").glob("*tfevents*"))) == 1
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.parent == folder} >= {"avatar.json", "weights.safetensors", "background.png"}
    for path in files:
        assert path.suffix not in (".pth", ".pt", ".pkl", ".ckpt", ".bin")
        # A pickle starts with its protocol, torch's own format is a zip.
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"), path
    assert not list(folder.rglob("*partial*"))


def test_previews_show_truth_beside_rendering(trained: Trained, dataset: DatasetFolder) -> None:
    preview = cv2.imread(str(trained("r2talker") / "training" / "preview_head.png"))
    truth = cv2.resize(cv2.imread(str(dataset.ground_truth(TRAIN_FRAMES))), (TRAIN_SIZE,) * 2, interpolation=cv2.INTER_AREA)
    assert np.abs(preview[:, :TRAIN_SIZE].astype(int) - truth).max() <= 1
    assert np.abs(preview[:, TRAIN_SIZE:].astype(int) - truth).mean() < 40


def test_the_avatar_says_where_it_comes_from(trained: Trained) -> None:
    info = read_avatar_info(AvatarFolder(trained("r2talker")))
    assert info.size == TRAIN_SIZE
    assert info.provenance["clip"]["file"] == "subject.mp4"
    assert info.provenance["training"]["rays"] == TRAINING.rays
    assert info.motion == dataclasses.replace(MOTION.model, remembered=TRAIN_FRAMES)
    assert read_avatar_info(AvatarFolder(trained("radnerf"))).motion is None
    assert read_avatar_info(AvatarFolder(trained("radnerf"))).feature == "mel"


def test_a_finished_run_is_left_alone(trained: Trained, dataset: DatasetFolder) -> None:
    folder = trained("r2talker")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    recorder = Recorder()
    # Neither the rhythm of checkpoints nor that of previews changes what is trained.
    config = dataclasses.replace(TRAINING, checkpoint_seconds=5, preview_seconds=5)
    report = train_avatar("r2talker", dataset.root, folder, config, MOTION, recorder)
    assert report.current
    assert recorder.begun == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("method", "change"),
    [("r2talker", {"rays": 128}), ("r2talker", {"seed": 1}), ("geneface", {})],
    ids=["rays", "seed", "method"],
)
def test_other_settings_are_refused(trained: Trained, dataset: DatasetFolder, method: str, change: dict[str, int]) -> None:
    folder = trained("r2talker")
    before = AvatarFolder(folder).weights.stat().st_mtime_ns
    refused(
        r"r2talker\.avatar was trained with .* other settings.*--restart",
        method, dataset.root, folder, dataclasses.replace(TRAINING, **change), MOTION,
    )  # fmt: skip
    assert AvatarFolder(folder).weights.stat().st_mtime_ns == before


def test_an_avatar_without_the_traces_of_its_training_is_known(avatar: Avatar, dataset: DatasetFolder, tmp_path: Path) -> None:
    avatar.save(tmp_path / "moved.avatar")
    assert train_avatar("r2talker", dataset.root, tmp_path / "moved.avatar", TRAINING, MOTION).current
    other = dataclasses.replace(TRAINING, rays=128)
    refused("other settings", "r2talker", dataset.root, tmp_path / "moved.avatar", other, MOTION)


def test_another_dataset_is_refused(trained: Trained, dataset: DatasetFolder, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "other.dataset"))
    value = json.loads(copy.info.read_text())
    value["focal"] += 1
    copy.info.write_text(json.dumps(value))
    refused("another dataset", "r2talker", copy.root, trained("r2talker"), TRAINING, MOTION)


def test_interrupted_twice_the_run_ends_as_if_it_had_not_been(trained: Trained, dataset: DatasetFolder, tmp_path: Path) -> None:
    folder, config = tmp_path / "a.avatar", dataclasses.replace(TRAINING, checkpoint_seconds=0)
    for stop in (Interrupting("head", 21), Interrupting("torso", 21)):
        with pytest.raises(KeyboardInterrupt):
            train_avatar("geneface", dataset.root, folder, config, MOTION, stop)
        with pytest.raises(R2TalkerError, match="not a finished avatar"):
            Avatar.load(folder)
    assert ("head", 40, 20) in stop.begun
    refused("other settings", "geneface", dataset.root, folder, dataclasses.replace(config, rays=128), MOTION)
    recorder = Recorder()
    assert not train_avatar("geneface", dataset.root, folder, TRAINING, MOTION, recorder).current
    assert [name for name, _, _ in recorder.begun if name == "head"] == []
    assert ("torso", 30, 20) in recorder.begun
    assert differing(folder, trained("geneface")) == []


def test_the_lips_phase_goes_on_with_the_head_where_it_stopped(dataset: DatasetFolder, tmp_path: Path) -> None:
    config = dataclasses.replace(BRIEF, lips_steps=24, patch=16, rays=256, recombine=True)
    whole, broken = tmp_path / "whole.avatar", tmp_path / "broken.avatar"
    recorder = Recorder()
    train_avatar("r2talker", dataset.root, whole, config, MOTION, recorder)
    assert [name for name, _, _ in recorder.begun if name in ("head", "lips", "torso")] == ["head", "lips", "torso"]
    assert cv2.imread(str(whole / "training" / "preview_lips.png")).shape == (TRAIN_SIZE, 2 * TRAIN_SIZE, 3)
    often = dataclasses.replace(config, checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        train_avatar("r2talker", dataset.root, broken, often, MOTION, Interrupting("lips", 21))
    train_avatar("r2talker", dataset.root, broken, config, MOTION, recorder)
    assert ("lips", 24, 20) in recorder.begun
    assert differing(whole, broken) == []
    without = tmp_path / "without.avatar"
    train_avatar("r2talker", dataset.root, without, dataclasses.replace(config, lips_steps=0), MOTION)
    assert "model.head.position_grid.embeddings" in differing(whole, without)


def test_networks_that_lips_would_ask_are_missed_at_once(dataset: DatasetFolder, tmp_path: Path) -> None:
    config = dataclasses.replace(BRIEF, lpips_dir=tmp_path)
    refused("give --lips-steps too", "r2talker", dataset.root, tmp_path / "a.avatar", config, MOTION)
    config = dataclasses.replace(config, lips_steps=4)
    refused(r"holds neither alexnet\*.pth nor \*alex.pth", "r2talker", dataset.root, tmp_path / "a.avatar", config, MOTION)
    with pytest.raises(R2TalkerError, match="at least 32 pixels, got --patch 16"):
        dataclasses.replace(config, patch=16)


def test_steps_with_too_few_frames_for_eyes_are_refused(
    dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels have the same roles in every step, so that eyes would never be trained by themselves."""
    monkeypatch.setattr("r2talker.train.phase_list.runs_fused", lambda arithmetic, head, device: True)
    config = dataclasses.replace(BRIEF, recombine=True, frames_per_step=7)
    refused("one in 8 is; give --frames-per-step 8 or more", "geneface", dataset.root, tmp_path / "a.avatar", config, MOTION)


def test_restart_replaces_a_finished_and_a_broken_run(dataset: DatasetFolder, tmp_path: Path) -> None:
    folder = tmp_path / "a.avatar"
    train_avatar("geneface", dataset.root, folder, BRIEF, MOTION)
    first = weights(folder)
    other = dataclasses.replace(BRIEF, seed=1)
    refused("--restart", "geneface", dataset.root, folder, other, MOTION)
    AvatarFolder(folder).info.unlink()
    (folder / "training" / "checkpoint.safetensors").write_bytes(b"broken")
    refused("unreadable.*--restart", "geneface", dataset.root, folder, other, MOTION)
    report = train_avatar("geneface", dataset.root, folder, dataclasses.replace(other, restart=True), MOTION)
    assert not report.current
    assert read_avatar_info(AvatarFolder(folder)).provenance["training"]["seed"] == 1
    # Weights start from the seed, so all of the head is new; its individual codes, of which two steps touch two, too.
    head = {name: value for name, value in weights(folder).items() if name.startswith("model.head.") and value.ndim > 1}
    assert not any(torch.equal(value, first[name]) for name, value in head.items())


def test_held_out_frames_teach_nothing(dataset: DatasetFolder, tmp_path: Path) -> None:
    """Spoilt held-out pictures, masks, poses and eyes change no weight."""
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "spoilt.dataset"))
    for frame in range(TRAIN_FRAMES, 60):
        for path in (copy.ground_truth(frame), copy.torso(frame), copy.parsing(frame)):
            shutil.copy(path.with_stem("0"), path)
    poses = json.loads(copy.transforms("val").read_text())
    for entry in poses["frames"]:
        entry["transform_matrix"][0][3] += 0.3
        entry["eye_ratio"] = 9.0
    copy.transforms("val").write_text(json.dumps(poses))
    for source in (dataset, copy):
        train_avatar("geneface", source.root, tmp_path / f"{source.root.stem}.avatar", BRIEF, MOTION)
    assert differing(tmp_path / f"{dataset.root.stem}.avatar", tmp_path / "spoilt.avatar") == []


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    refused(r"none\.dataset is not a finished dataset", "r2talker", tmp_path / "none.dataset", tmp_path / "a.avatar", BRIEF)
    assert not (tmp_path / "a.avatar").exists()


def test_missing_sound_is_found_before_anything_is_trained(dataset: DatasetFolder, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "mute.dataset"))
    copy.audio.unlink()
    recorder = Recorder()
    refused(r"cannot read .*aud\.wav", "r2talker", copy.root, tmp_path / "a.avatar", BRIEF, MOTION, recorder)
    assert recorder.begun == []


def test_a_file_in_the_avatars_place(dataset: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "a.avatar").write_text("mine")
    refused(r"a\.avatar is a file", "r2talker", dataset.root, tmp_path / "a.avatar", BRIEF)
    assert (tmp_path / "a.avatar").read_text() == "mine"


def test_an_unknown_method_is_answered_with_the_known_ones(dataset: DatasetFolder, tmp_path: Path) -> None:
    refused(f"no method 'nerf'.*{', '.join(available())}", "nerf", dataset.root, tmp_path / "a.avatar", BRIEF)


def test_cuda_that_is_absent_is_refused(dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("no CUDA device; use cpu", "r2talker", dataset.root, tmp_path / "a.avatar", TrainConfig(device="cuda"))
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(R2TalkerError, match="no device 'abacus'; choose auto, cpu or cuda"):
        choose_device("abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
