"""Train the landmark generator on seconds to minutes of one person's own sound and landmarks.

Every member of the model is left without its own stretch of the clip (a block of time, never single frames) and trained on the
rest, so together they have seen all of it, and what each makes of its own stretch is an honest sample of the errors. The
learning rate falls to zero by the end; stopping at the lowest held-out loss was worse (docs/motion.md). Runs on any device.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

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

MIN_FRAMES = 45
"""The training split of two seconds, the shortest clip that ingest takes; fewer frames teach nothing."""

_REPORT_STEPS = 50
_HELD_SHARE = 0.06
_WARM_UP = 0.1
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
    _check(samples, landmarks, train_frames)
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
    frames = known.shape[0]
    generator = torch.Generator().manual_seed(config.seed)
    model = MotionModel(config.model)
    with torch.no_grad():
        with _one_thread():
            model.sound_lag.fill_(find_sound_lag(samples[: frames * _FRAME_SAMPLES], known))
        # The last training frame hears as far ahead as any other.
        reach = frames * _FRAME_SAMPLES + model.rows_ahead * HOP
        sound = advance_sound(samples, int(model.sound_lag))[:reach]
        person = learn_person(model, known, eye)
        learn_voice(model, sound)
        data = _to(gather_motion_data(model, sound, known, person, config.variants, generator), device)
    held = held_blocks(frames, config.model.members).to(device)
    progress.begin("landmark generator", config.steps)
    with _one_thread():
        _Fit(model.to(device), data, held, config, generator, progress).run()
    _set_gain(model, data, held, config.articulation)
    progress.end(f"a model from sound to landmarks, held-out loss {held_loss(model, data, held):.3f}")
    return model


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices are small: a second thread gains nothing, and costs several times over when other work holds the cores."""
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


class _Fit:
    """The optimisation of all members at once, each on its own frames."""

    def __init__(
        self,
        model: MotionModel,
        data: MotionData,
        held: Bool[Tensor, "members frames"],
        config: MotionTrainingConfig,
        generator: torch.Generator,
        progress: Progress,
    ) -> None:
        self.model, self.data, self.held, self.config = model, data, held, config
        self.generator, self.progress = generator, progress
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
        # A run is drawn for a member only if none of its frames is held out from that member.
        runs = data.source[data.starts[:, None] + torch.arange(RUN, device=data.starts.device)]
        self.starts = [data.starts[~held[member][runs].any(1)] for member in range(config.model.members)]

    def run(self) -> None:
        """Train until the steps or seconds are over."""
        began, step, done = time.monotonic(), 0, 0.0
        while done < 1:
            self._step(done)
            step += 1
            done = max(step / self.config.steps, (time.monotonic() - began) / self.config.seconds)
            if step % _REPORT_STEPS == 0:
                self.progress.advance(step, f"held-out loss {held_loss(self.model, self.data, self.held):.3f}")

    def _step(self, done: float) -> None:
        self.model.train()
        share = min(1.0, (done + 1e-3) / _WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * share * 0.5 * (1 + math.cos(math.pi * done))
        index = torch.stack([self._draw(starts) for starts in self.starts])
        spoken, silent = self.data.windows[index.flatten(1)], self._draw_silence()
        output = self.model(self._disturb(torch.cat([spoken, silent], dim=1)), self.config.dropout)
        speaking, resting = output.split([spoken.shape[1], silent.shape[1]], dim=1)
        loss = self._loss(speaking.unflatten(1, index.shape[1:]), self.data.targets[index], self.data.weight[index])
        rest = ((resting - self.model.closed).square() * self.data.importance).sum(-1).mean(1).sum()
        loss = loss + self.config.silence * rest
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def _draw(self, starts: Int[Tensor, " starts"]) -> Int[Tensor, "runs frames"]:
        runs = max(1, self.config.frames // RUN)
        chosen = starts[torch.randint(0, starts.shape[0], (runs,), generator=self.generator).to(starts.device)]
        return chosen[:, None] + torch.arange(RUN, device=starts.device)

    def _draw_silence(self) -> Float[Tensor, "members items window bands"]:
        items, silent = max(1, int(self.config.frames * self.config.silence)), self.data.silence.shape[0]
        index = torch.randint(0, silent, (self.config.model.members, items), generator=self.generator)
        return self.data.silence[index.to(self.data.silence.device)]

    def _disturb(self, windows: Float[Tensor, "members items window bands"]) -> Float[Tensor, "members items window bands"]:
        level = torch.randn(*windows.shape[:2], 1, 1, generator=self.generator).to(windows.device) * self.config.level
        return windows + torch.randn_like(windows) * self.config.feature_noise + level

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
        of_members = ((position + self.config.lips * lips) * weight).mean((1, 2)) + self.config.velocity * velocity.mean((1, 2))
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
    made, tracked = (float((values @ opening).std()) for values in (outputs.made, outputs.tracked))
    model.gain.fill_(min(max(articulation * tracked / max(made, 1e-6), 1.0), _MOST_GAIN))


def _to(data: MotionData, device: torch.device) -> MotionData:
    moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(data).items()}
    return MotionData(**moved)


def _check(samples: Tensor, landmarks: Tensor, train_frames: int) -> None:
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
