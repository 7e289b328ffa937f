"""Train the landmark generator on seconds to minutes of one person's own sound and landmarks.

Every member of the model is left without its own stretch of the clip (a block of time, never single frames) and trained on the
rest, so together they have seen all of it, and what each makes of its own stretch is an honest sample of the errors. The
learning rate falls to zero by the end; stopping at the lowest held-out loss was worse (docs/motion.md). Runs on any device.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME, SAMPLE_RATE
from r2talker.drive.motion import LANDMARKS, MotionModel, advance_sound
from r2talker.drive.sound_lag import find_sound_lag
from r2talker.errors import R2TalkerError
from r2talker.progress import Progress, Silent
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.motion_data import RUN, MotionData, gather_motion_data, learn_person, learn_voice
from r2talker.train.motion_start import HEARING, read_start

MIN_FRAMES = 45
"""The training split of two seconds, the shortest clip that ingest takes; fewer frames teach nothing."""

MOST_REMEMBERED = 1024
"""Frames of the clip that a model keeps at most (0.8 MB)."""

REPORT_STEPS = 50
_HELD_SHARE = 0.06
_MOST_GAIN = 1.5
_OPENINGS = 3
_MISSING_FRAMES = 5
_FRAME_SAMPLES = HOP * ROWS_PER_FRAME


def train_motion(
    samples: Float[Tensor, " samples"],
    landmarks: Float[Tensor, "frames 68 3"],
    train_frames: int,
    config: MotionTrainingConfig | None = None,
    progress: Progress | None = None,
    *,
    eye: Float[Tensor, " frames"] | None = None,
) -> MotionModel:
    """A model from sound to `landmarks`, trained on the first `train_frames` frames and nothing after them.

    samples: 16 kHz mono in [-1, 1], starting with frame 0; a lag of the clip's sound is found and corrected. landmarks:
    displacements at 25 fps. eye: eye value of each frame (upstream.md 2.7), which the eyelids learn to follow. Raises
    R2TalkerError for less than two seconds, sound that is too short, and values that are not finite.
    """
    config, progress = config or MotionTrainingConfig(), progress or Silent()
    train_frames = min(train_frames, landmarks.shape[0])
    check_clip(samples, landmarks, train_frames)
    known = landmarks[:train_frames].detach().cpu().float()
    eyes = None if eye is None else eye[:train_frames].detach().cpu().float()
    # Seeded without disturbing the caller's own random numbers.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = _fit_person(samples.detach().cpu().float(), known, eyes, config, progress, landmarks.device)
    return model.eval()


def _fit_person(
    samples: Float[Tensor, " samples"],
    known: Float[Tensor, "frames 68 3"],
    eye: Float[Tensor, " frames"] | None,
    config: MotionTrainingConfig,
    progress: Progress,
    device: torch.device,
) -> MotionModel:
    generator = torch.Generator().manual_seed(config.seed)
    fit = prepare_fit(samples, known, eye, config, generator, device)
    if config.start:
        _take_over(fit.model, Path(config.start))
    progress.begin("landmark generator", config.steps)
    with one_thread():
        fit.run(progress)
    _set_gain(fit.model, fit.data, fit.held, config.articulation)
    progress.end(f"a model from sound to landmarks, held-out loss {held_loss(fit.model, fit.data, fit.held):.3f}")
    return fit.model


def _take_over(model: MotionModel, path: Path) -> None:
    """Start from the hearing layers of a file."""
    start = read_start(path)
    if start.config != dataclasses.replace(model.config, remembered=0):
        raise R2TalkerError(f"{path} has layers of other sizes than asked for; train it again with the same sizes")
    model.load_state_dict(start.hearing, strict=False)


@torch.no_grad()
def prepare_fit(
    samples: Float[Tensor, " samples"],
    known: Float[Tensor, "frames 68 3"],
    eye: Float[Tensor, " frames"] | None,
    config: MotionTrainingConfig,
    generator: torch.Generator,
    device: torch.device,
) -> "Fit":
    """An untrained model of the person of a clip, with the statistics it needs, and what it is to learn from."""
    frames = known.shape[0]
    model = MotionModel(dataclasses.replace(config.model, remembered=min(frames, MOST_REMEMBERED)))
    with one_thread():
        model.sound_lag.fill_(find_sound_lag(samples[: frames * _FRAME_SAMPLES], known))
    # The last training frame hears as far ahead as any other.
    reach = frames * _FRAME_SAMPLES + model.rows_ahead * HOP
    sound = advance_sound(samples, int(model.sound_lag))[:reach]
    person = learn_person(model, known, eye)
    learn_voice(model, sound)
    data = _to(gather_motion_data(model, sound, known, person, config.variants, generator), device)
    held = held_blocks(frames, config.model.members).to(device)
    return Fit(model.to(device), data, held, config, generator)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one: the matrices are small: a second thread gains nothing, and costs several times over when other work holds the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def held_blocks(frames: int, members: int) -> Bool[Tensor, "members frames"]:
    """Which frames each member is not trained on: the tail of the clip, and blocks spread over the rest."""
    length = max(RUN, int(frames * _HELD_SHARE))
    held = torch.zeros(members, frames, dtype=torch.bool)
    for member in range(members):
        end = frames - round(member * (frames - length) / max(members, 1))
        held[member, end - length : end] = True
    return held


@dataclass(frozen=True)
class HeldOutputs:
    """Coefficients of each member's held-out frames."""

    made: Float[Tensor, "members held components"]
    tracked: Float[Tensor, "members held components"]


class Fit:
    """What one person's members are trained with, all at once, each on its own frames."""

    def __init__(
        self,
        model: MotionModel,
        data: MotionData,
        held: Bool[Tensor, "members frames"],
        config: MotionTrainingConfig,
        generator: torch.Generator,
    ) -> None:
        self.model, self.data, self.held = model, data, held
        self._config, self._generator = config, generator
        # A run is drawn for a member only if none of its frames is held out from that member.
        runs = data.source[data.starts[:, None] + torch.arange(RUN, device=data.starts.device)]
        self._starts = [data.starts[~held[member][runs].any(1)] for member in range(config.model.members)]

    def run(self, progress: Progress) -> None:
        """Train until the steps or seconds are over."""
        config = self._config
        hearing = [p for name in HEARING for p in getattr(self.model, name).parameters()]
        moving = list(self.model.last.parameters())
        factors = (config.start_share if config.start else 1.0, 1.0)
        optimizer = torch.optim.AdamW([{"params": hearing}, {"params": moving}], weight_decay=config.weight_decay)
        began, step, done = time.monotonic(), 0, 0.0
        while done < 1:
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = config.rate_at(done) * factor
            loss = self.loss()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            done = max(step / config.steps, (time.monotonic() - began) / config.seconds)
            if step % REPORT_STEPS == 0:
                progress.advance(step, f"held-out loss {held_loss(self.model, self.data, self.held):.3f}")

    def loss(self) -> Float[Tensor, ""]:
        """Loss of a batch drawn at random, the members' added up."""
        self.model.train()
        index = torch.stack([self._draw(starts) for starts in self._starts])
        spoken, silent = self.data.windows[index.flatten(1)], self._draw_silence()
        output = self.model(self._disturb(torch.cat([spoken, silent], dim=1)), self._config.dropout)
        speaking, resting = output.split([spoken.shape[1], silent.shape[1]], dim=1)
        loss = self._loss(speaking.unflatten(1, index.shape[1:]), self.data.targets[index], self.data.weight[index])
        rest = ((resting - self.model.closed).square() * self.data.importance).sum(-1).mean(1).sum()
        return loss + self._config.silence * rest

    def _draw(self, starts: Int[Tensor, " starts"]) -> Int[Tensor, "runs frames"]:
        runs = max(1, self._config.frames // RUN)
        chosen = starts[torch.randint(0, starts.shape[0], (runs,), generator=self._generator).to(starts.device)]
        return chosen[:, None] + torch.arange(RUN, device=starts.device)

    def _draw_silence(self) -> Float[Tensor, "members items window bands"]:
        items, silent = max(1, int(self._config.frames * self._config.silence)), self.data.silence.shape[0]
        index = torch.randint(0, silent, (self._config.model.members, items), generator=self._generator)
        return self.data.silence[index.to(self.data.silence.device)]

    def _disturb(self, windows: Float[Tensor, "members items window bands"]) -> Float[Tensor, "members items window bands"]:
        level = torch.randn(*windows.shape[:2], 1, 1, generator=self._generator).to(windows.device) * self._config.level
        return windows + torch.randn_like(windows) * self._config.feature_noise + level

    def _loss(
        self,
        output: Float[Tensor, "members runs frames components"],
        target: Float[Tensor, "members runs frames components"],
        weight: Float[Tensor, "members runs frames"],
    ) -> Float[Tensor, ""]:
        error = output - target
        position = (error.square() * self.data.importance).sum(-1)
        velocity = (error.diff(dim=2).square() * self.data.importance).sum(-1)
        lips = (error @ self.data.lips).square().mean(-1)
        of_members = ((position + self._config.lips * lips) * weight).mean((1, 2)) + self._config.velocity * velocity.mean(
            (1, 2)
        )
        # Members are independent, so their losses add up.
        return of_members.sum()


@torch.no_grad()
def held_outputs(model: MotionModel, data: MotionData, held: Bool[Tensor, "members frames"]) -> HeldOutputs:
    """What each member makes of the frames that it was not trained on, beside the truth."""
    index = held.nonzero()[:, 1].reshape(held.shape[0], -1)
    return HeldOutputs(model.eval()(data.windows[index]), data.targets[index])


def held_loss(model: MotionModel, data: MotionData, held: Bool[Tensor, "members frames"]) -> float:
    """Mean squared error of the held-out coefficients relative to the truth's variance (1: as bad as a still face)."""
    outputs = held_outputs(model, data, held)
    error = ((outputs.made - outputs.tracked).square() * data.importance).mean((0, 1)).sum()
    return float(error / (outputs.tracked.square() * data.importance).mean((0, 1)).sum().clamp_min(1e-12))


@torch.no_grad()
def _set_gain(model: MotionModel, data: MotionData, held: Bool[Tensor, "members frames"], articulation: float) -> None:
    """Amplify the output until the opening spreads `articulation` times as much as the tracked one, on frames not trained on.

    The least-squares answer to uncertain sound is a timid mouth; a bounded gain about the mean restores its size.
    """
    outputs = held_outputs(model, data, held)
    opening = data.lips[:, :_OPENINGS].mean(1)
    # In use, outputs of windows moved by a row or more are averaged, which takes some of their spread.
    blurred = _blurred(outputs.made @ opening, model.config.blur_rows / ROWS_PER_FRAME)
    made, tracked = float(blurred.std()), float((outputs.tracked @ opening).std())
    model.gain.fill_(min(max(articulation * tracked / max(made, 1e-6), 1.0), _MOST_GAIN))


def _blurred(curves: Float[Tensor, "members frames"], reach: float) -> Float[Tensor, "members frames"]:
    """Mean over `reach` frames to either side of each, of curves that are linear between frames; ends repeat."""
    moments = torch.linspace(-reach, reach, int(2 * reach * ROWS_PER_FRAME) + 1, device=curves.device)
    frame = torch.arange(curves.shape[1], device=curves.device)[:, None] + moments
    left = frame.floor().long()
    share = (frame - left).to(curves)
    last = curves.shape[1] - 1
    return torch.lerp(curves[:, left.clamp(0, last)], curves[:, (left + 1).clamp(0, last)], share).mean(2)


def _to(data: MotionData, device: torch.device) -> MotionData:
    moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(data).items()}
    return MotionData(**moved)


def check_clip(samples: Tensor, landmarks: Tensor, train_frames: int) -> None:
    """Raise R2TalkerError for a clip that teaches nothing."""
    if landmarks.dim() != 3 or landmarks.shape[1:] != (LANDMARKS, 3):
        raise R2TalkerError(f"landmarks must be [frames, 68, 3], got {list(landmarks.shape)}; use aud_idexp.npy of the dataset")
    if train_frames < MIN_FRAMES:
        raise R2TalkerError(
            f"the landmark generator needs {MIN_FRAMES} training frames (a clip of 2 s), got {train_frames}; use a longer clip"
        )
    if samples.shape[0] < (train_frames - _MISSING_FRAMES) * _FRAME_SAMPLES:
        raise R2TalkerError(
            f"the sound lasts {samples.shape[0] / SAMPLE_RATE:.1f} s but the training frames {train_frames / 25:.1f} s; "
            "ingest the clip again"
        )
    if not (torch.isfinite(samples).all() and torch.isfinite(landmarks).all()):
        raise R2TalkerError("sound or landmarks hold values that are not finite; ingest the clip again")
