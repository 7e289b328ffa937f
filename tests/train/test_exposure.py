"""The exposure of every frame is found, and the avatar has the usual one."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import scene
from benchmarks.fused_engine import FusedEngine
from benchmarks.models import build_model
from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.evaluate.films import HEAD, TrueDrive
from r2talker.evaluate.metrics import psnr
from r2talker.ops.train_head.cuda import HeadStep
from r2talker.train import fused_head
from r2talker.train.diary import RunFolder
from r2talker.train.exposure import BRIGHTEST, Exposure, fit_exposures, usual_torso
from r2talker.train.lessons import Lessons, SeenRays, note_exposure
from r2talker.train.run import train_avatar
from tests.ops.cuda.backends import open_backend
from tests.tiny import MOTION, TRAIN_SIZE, TRAINING
from tests.tolerances import assert_close
from tests.train.team_worker import EMULATED_RAYS, EMULATED_SIZE, emulate

CPU = torch.device("cpu")
FRAMES, RAYS = 6, 20_000
EVERY = torch.arange(FRAMES)


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Usual colours of rays of all frames, and maps whose mean is the identity."""
    generator = torch.Generator().manual_seed(seed)
    colours = 0.2 + 0.5 * torch.rand(FRAMES, RAYS, 3, generator=generator)
    gain = 0.9 + 0.2 * torch.rand(FRAMES, 3, generator=generator)
    offset = 0.04 * torch.rand(FRAMES, 3, generator=generator)
    gain = gain / gain.mean(0)
    return colours, torch.stack([gain, offset - offset.mean(0)], dim=1)


def exposed(colours: Tensor, maps: Tensor) -> Tensor:
    gain, offset = maps[:, :, None].unbind(1)
    return gain * colours + offset


def studied(exposure: Exposure, colours: Tensor, truth: Tensor, counted: Tensor, times: int = 10) -> Exposure:
    """After visits that all show the same."""
    for _ in range(times):
        exposure.note(EVERY, colours, exposure.undo(truth, EVERY), counted)
        exposure.learn()
    return exposure


def test_known_gains_and_offsets_are_found() -> None:
    colours, maps = drawn()
    counted = torch.ones(FRAMES, RAYS, dtype=torch.bool)
    exposure = studied(Exposure(FRAMES, CPU), colours, exposed(colours, maps), counted)
    assert_close(exposure.maps, maps, "exposure of exact colours")
    assert_close(exposure.undo(exposed(colours, maps), EVERY), colours, "exposure of exact colours")


def test_what_all_frames_have_in_common_stays_in_the_avatar() -> None:
    """A head that is too dark in all frames is to become brighter, not its frames darker."""
    colours, maps = drawn()
    counted = torch.ones(FRAMES, RAYS, dtype=torch.bool)
    exposure = studied(Exposure(FRAMES, CPU), 0.7 * colours + 0.05, exposed(colours, maps), counted)
    assert_close(exposure.maps[:, 0].mean(0), torch.ones(3), "geometry")
    assert_close(exposure.maps[:, 1].mean(0), torch.zeros(3), "geometry")
    assert_close(exposure.maps[:, 0], maps[:, 0], "exposure beside a dark head")


def test_frames_that_were_not_seen_keep_their_exposure() -> None:
    exposure = Exposure(FRAMES, CPU)
    colours, maps = drawn()
    truth = exposed(colours, maps)
    counted = torch.ones(FRAMES, RAYS, dtype=torch.bool)
    counted[2] = False
    studied(exposure, colours, truth, counted)
    assert torch.equal(exposure.maps[2], torch.tensor([[1.0] * 3, [0.0] * 3]))
    others = EVERY[EVERY != 2]
    assert_close(exposure.maps[others, 0].mean(0), torch.ones(3), "geometry")
    assert float((exposure.maps[others, 0] - 1).abs().max()) > 0.02


def test_few_rays_say_little() -> None:
    sums = torch.zeros(2, 5, 3)
    colours = torch.tensor([0.4, 0.6])
    for frame, gain in enumerate((0.8, 1.2)):
        truth = gain * colours
        values = [torch.tensor(2.0), colours.sum(), (colours**2).sum(), truth.sum(), (colours * truth).sum()]
        sums[frame] = torch.stack(values)[:, None]
    gains = fit_exposures(sums)[:, 0]
    assert 0.02 < float(gains[1, 0] - gains[0, 0]) < 0.35


def test_a_frame_twice_in_one_step_counts_twice() -> None:
    colours, maps = drawn()
    truth = exposed(colours, maps)
    counted = torch.ones(FRAMES, RAYS, dtype=torch.bool)
    twice, once = Exposure(FRAMES, CPU), Exposure(FRAMES, CPU)
    once.note(EVERY, colours, truth, counted)
    twice.note(EVERY.repeat(2), colours.repeat(2, 1, 1), truth.repeat(2, 1, 1), counted.repeat(2, 1))
    assert_close(twice.fresh, 2 * once.fresh, "sums of thousands of colours")


@pytest.mark.parametrize("what", ["edge", "lips", "eyes", "clipped"])
def test_only_the_heads_own_still_skin_counts(what: str) -> None:
    """Half of the rays show something else, which is as bright as can be; the maps do not change by it."""
    colours, maps = drawn()
    truth = exposed(colours, maps)
    rectangles = torch.tensor([[0, 100, 0, 100], [60, 80, 0, 100], [20, 40, 0, 100], [0, 100, 0, 100]]).expand(FRAMES, 4, 4)
    pixels, opacity = torch.full((FRAMES, RAYS), 50 * 100), torch.ones(FRAMES, RAYS)
    odd = torch.arange(RAYS) % 2 == 1
    if what == "edge":
        opacity[:, odd] = 0.9
    elif what != "clipped":
        pixels[:, odd] = (70 if what == "lips" else 30) * 100
    spoilt = torch.where(odd[:, None], BRIGHTEST + 1e-3 if what == "clipped" else 0.98, truth)
    exposure = Exposure(FRAMES, CPU)
    for _ in range(10):
        wanted = exposure.undo(spoilt, EVERY)
        note_exposure(exposure, SeenRays(EVERY, pixels, rectangles, colours, wanted, opacity, 100))
        exposure.learn()
    assert_close(exposure.maps, maps, "exposure of exact colours")


def test_a_bad_look_counts_less_than_a_good_one() -> None:
    colours, maps = drawn()
    fog = torch.full_like(colours, 0.5)
    counted = torch.ones(FRAMES, RAYS, dtype=torch.bool)
    exposure, spoilt = Exposure(FRAMES, CPU), Exposure(FRAMES, CPU)
    truth = exposed(colours, maps)
    spoilt.note(EVERY, fog, truth, counted)
    spoilt.learn()
    # Its rays count for little: a colour spread of 0.14 is an error of 0.02.
    assert float(spoilt.sums[:, 0].max()) < 0.1 * RAYS
    studied(exposure, colours, truth, counted, times=1)
    studied(spoilt, colours, truth, counted, times=1)
    assert float((spoilt.maps - exposure.maps).abs().max()) < 0.05


def test_torsos_have_the_usual_exposure_too_and_the_plate_its_own() -> None:
    exposure, alpha = Exposure(FRAMES, CPU), torch.tensor([0, 51, 255])
    exposure.maps[4] = torch.tensor([[1.25] * 3, [0.1] * 3])
    torso = torch.cat([torch.full((3, 3), 153), alpha[:, None]], dim=1).to(torch.uint8)
    plate = torch.full((3, 3), 102, dtype=torch.uint8)
    # (0.6 - 0.1) / 1.25 over 0.4
    assert_close(usual_torso(torso, plate, exposure, EVERY[4:5])[:, 0], torch.full((3,), 0.4), "geometry")
    assert_close(usual_torso(torso, plate, None, EVERY[4:5])[:, 0], torch.tensor([0.4, 0.44, 0.6]), "geometry")


def test_kernels_ask_the_head_as_other_frames_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the emulator: the frames of the step, their truth at the usual exposure, all that drives the head from one other frame each."""
    open_backend("emulator")
    emulate(monkeypatch.setattr)
    seen: list[SeenRays] = []
    folded: list[tuple[Any, ...]] = []
    original = HeadStep.fold

    def fold(step: HeadStep, *given: Any) -> None:
        folded.append(given)
        original(step, *given)

    monkeypatch.setattr(HeadStep, "fold", fold)
    monkeypatch.setattr(fused_head, "START_SHARE", 0.0)
    monkeypatch.setattr(
        fused_head, "note_exposure", lambda exposure, rays: seen.append(dataclasses.replace(rays, wanted=rays.wanted.clone()))
    )
    exposure, clip = Exposure(scene.FRAMES, CPU), scene.make_clip(EMULATED_SIZE, "cpu")
    exposure.maps[:, 0] += torch.linspace(-0.2, 0.2, scene.FRAMES)[:, None]
    before = exposure.maps.clone()
    model = build_model("r2talker", EMULATED_SIZE, "cpu")
    engine = FusedEngine(model, clip, 5, EMULATED_RAYS, 2, lessons=Lessons(exposure=exposure))
    head, windows = engine.fused.head, engine.fused.windows
    with torch.no_grad():
        codes, own = head.contract.encode(windows), head.individual_codes.clone()
    engine.fused.advance(1)
    (rays,) = seen
    frames = engine.fused.clip.schedule[0].long()
    assert torch.equal(rays.frames, frames)
    for slot, frame in enumerate(frames.tolist()):
        truth = clip.pictures[frame].reshape(-1, 3)[rays.pixels[slot]].float() / 255
        assert_close(rays.wanted[slot], truth / before[frame, 0], "geometry")
        # After the fold for the occupancy and before the step's own.
        code, _, individual = folded[1]
        other = int((own - individual[frame]).abs().sum(dim=1).argmin())
        assert torch.equal(own[other], individual[frame])
        assert_close(code[slot], codes[other], "code in another batch")
    assert [len(given) for given in folded] == [2, 3, 2]
    # The next look comes some steps later.
    engine.fused.advance(fused_head.STUDY_PERIOD)
    assert len(seen) == 2


@pytest.fixture(scope="module")
def gains(data: Dataset) -> np.ndarray:
    """Of the training frames, RGB, which rise and fall by an eighth."""
    frame = np.arange(len(data.train))[:, None]
    values = np.exp(0.12 * np.sin(0.7 * frame) + 0.03 * np.sin(frame * np.array([1.3, 1.9, 2.3])))
    return np.asarray(values / values.mean(0))


@pytest.fixture(scope="module")
def flickering(dataset: DatasetFolder, gains: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset, its training frames darker and brighter: the person, as the plate behind is always the same one."""
    folder = DatasetFolder(tmp_path_factory.mktemp("flickering") / "a.dataset")
    shutil.copytree(dataset.root, folder.root)
    for frame, gain in enumerate(gains[:, ::-1]):
        person = (cv2.imread(str(folder.parsing(frame))) != 255).any(-1, keepdims=True)
        picture = cv2.imread(str(folder.ground_truth(frame)))
        cv2.imwrite(
            str(folder.ground_truth(frame)), np.where(person, picture * gain, picture).round().clip(0, 255).astype(np.uint8)
        )
        torso = cv2.imread(str(folder.torso(frame)), cv2.IMREAD_UNCHANGED).astype(np.float64)
        torso[..., :3] *= gain
        cv2.imwrite(str(folder.torso(frame)), torso.round().clip(0, 255).astype(np.uint8))
    return folder.root


def held_out(avatar: Path, dataset: Path) -> float:
    """Mean PSNR of the head over the true torso."""
    data, loaded = read_dataset(dataset), Avatar.load(avatar, device="cpu")
    pictures = read_pictures(data, list(data.held_out), size=TRAIN_SIZE)
    drive = TrueDrive(loaded, data)
    scores = [
        psnr(drive.render(frame, pictures, HEAD), pictures.truth[pictures.index[frame]].float() / 255)
        for frame in data.held_out
    ]
    return float(np.mean(scores))


def test_training_finds_the_gains_of_a_flickering_clip_and_shows_the_usual_one(
    flickering: Path, gains: np.ndarray, tmp_path: Path
) -> None:
    scores = {}
    for exposure in (False, True):
        config = dataclasses.replace(TRAINING, head_steps=400, torso_steps=1, exposure=exposure)
        folder = tmp_path / f"{exposure}.avatar"
        train_avatar("r2talker", flickering, folder, config, MOTION)
        scores[exposure] = held_out(folder, flickering)
    maps = load_file(RunFolder(tmp_path / "True.avatar" / "training").checkpoint)["kept.exposure.maps"].numpy()
    # At the brightness of skin, where gains and offsets are told apart least.
    found, true = maps[:, 0] * 0.6 + maps[:, 1], gains * 0.6
    assert np.corrcoef(found[:, 1], true[:, 1])[0, 1] > 0.95
    assert np.std(found - true) < 0.35 * np.std(true)
    assert scores[True] > scores[False] + 0.3
