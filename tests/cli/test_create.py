"""End to end on the CPU: a clip becomes an avatar, which speaks into a video; and the same verbs one by one."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from r2talker.cli.main import run
from r2talker.data.folder import DatasetFolder
from r2talker.media.write import write_wav
from r2talker.subject.voice import synthesise_speech
from tests.cli.conftest import BRIEF, Command
from tests.tiny import TRAIN_SIZE
from tests.tolerances import TOLERANCES

TRAINING = ("--head-steps", 60, "--torso-steps", 60, "--rays", 256, "--device", "cpu")


@pytest.mark.slow
def test_from_a_clip_to_a_talking_video(command: Command, film: Callable[..., Path], tmp_path: Path) -> None:
    """The shortest clip that is accepted, 2 s, in a folder whose name has a space."""
    video, avatar = film("two seconds", lambda pictures: pictures[:50]), tmp_path / "my person" / "a.avatar"
    create = ("create", video, avatar, "--size", TRAIN_SIZE, *TRAINING)
    made = command(*create)
    assert made.code == 0
    dataset = avatar.with_suffix(".dataset")
    assert f"{dataset}: 50 frames of 64 x 64 at 25 fps, 45 to train, 5 held out" in made.out
    assert f"{avatar} is ready: r2talker render {avatar} --audio speech.wav -o out.mp4" in made.out
    assert "held-out PSNR over 5 frames: " in made.out
    assert "mouth landmark error from sound: " in made.out
    steps = [line.split(":")[0] for line in made.err.splitlines()]
    for step in ("frames", "tracking", "description", "head", "torso", "landmark generator", "evaluation"):
        assert step in steps
    scores = json.loads((avatar / "evaluation.json").read_text())
    assert scores["psnr_full"] > 10

    # Again: nothing is left to do but to look.
    before = {path: path.stat().st_mtime_ns for path in (avatar / "weights.safetensors", dataset / "dataset.json")}
    again = command(*create)
    assert again.code == 0
    assert again.out == made.out
    assert [line.split(":")[0] for line in again.err.splitlines()] == ["evaluation"]
    assert {path: path.stat().st_mtime_ns for path in before} == before

    speech, talk = tmp_path / "speech.wav", tmp_path / "talk.mp4"
    write_wav(speech, synthesise_speech(2.0, 40).samples)
    assert command("render", avatar, "--audio", speech, "-o", talk).code == 0
    with av.open(str(talk)) as container:
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=TOLERANCES["sound beside pictures"].atol)
    assert pictures.shape == (50, TRAIN_SIZE, TRAIN_SIZE, 3)
    # It shows the person of the clip: its mean picture is much nearer to the clip's than one plain colour would be.
    shown = np.stack([cv2.imread(str(DatasetFolder(dataset).ground_truth(k)))[..., ::-1] for k in range(50)]).mean(0)
    assert np.abs(pictures.mean(0) - shown).mean() < 0.7 * np.abs(shown - shown.mean((0, 1))).mean()


def test_the_verbs_one_by_one(command: Command, refused: Callable[..., str], clip: Path, tmp_path: Path) -> None:
    dataset, avatar = tmp_path / "a.dataset", tmp_path / "b.avatar"
    ingested = command("ingest", clip, dataset, "--size", 64)
    assert (ingested.code, ingested.out) == (0, command("info", dataset).out)
    assert command("ingest", clip, dataset, "--size", 64).err == ""
    train = ("train", "radnerf", dataset, avatar, *BRIEF)
    trained = command(*train)
    assert trained.code == 0
    assert f"{avatar} trained in " in trained.out
    assert "held-out PSNR over 6 frames" in trained.out
    with pytest.MonkeyPatch.context() as patch:
        # What is to be done on the CPU is done there, evaluation included, also beside a GPU.
        patch.setattr("torch.cuda.is_available", lambda: True)
        assert f"{avatar} is finished already" in command(*train).out
    assert "pass --restart to replace it" in refused(*train, "--seed", 3)
    assert (avatar / "evaluation.png").exists()
    measured = command("evaluate", avatar, dataset, "--film", tmp_path / "film", "--device", "cpu")
    assert measured.code == 0
    assert "b.avatar, head on true torso, 6 frames: PSNR " in measured.out
    assert measured.out.endswith(f"{avatar / 'evaluation' / 'report.html'}: open it in a browser\n")
    assert sorted(path.name for path in (avatar / "evaluation").iterdir()) == ["frames.csv", "readings.json", "report.html"]
    compared = command("compare", dataset, tmp_path / "film" / "full", "-o", tmp_path / "compared", "--frames", 4)
    assert compared.code == 0
    assert "film, full frame, 4 frames: PSNR " in compared.out
    assert (tmp_path / "compared" / "report.html").exists()
    assert "--start must be at least 0" in refused("compare", dataset, tmp_path / "film" / "full", "--start", -1)
    assert "there is nothing to compare with" in refused("compare", dataset)
    # An avatar is trained, whether it can be measured or not.
    command("ingest", clip, dataset, "--size", 64, "--exclude", "54-59")
    unmeasured = command(*train[:3], tmp_path / "c.avatar", *BRIEF)
    assert unmeasured.code == 0
    assert "not evaluated: all held-out frames of " in unmeasured.out
    report = tmp_path / "compared" / "report.html"
    assert "report.html is a file" in refused("compare", dataset, tmp_path / "film" / "full", "-o", report)


def test_ctrl_c_and_the_same_command_again(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = tmp_path / "a.dataset"
    arguments = ["ingest", str(clip), str(dataset), "--size", "64"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("r2talker.ingest.tracking.fit_track", _interrupt)
        assert run(arguments) == 130
    assert "stopped; the same command goes on from here" in capsys.readouterr().err
    assert not (dataset / "dataset.json").exists()
    assert run(arguments) == 0
    steps = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert steps[0] == "tracking"
    assert (dataset / "dataset.json").exists()


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
