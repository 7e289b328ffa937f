"""Train the hearing layers of a landmark generator on several people at once, each with layers of their own to move a face."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.errors import R2TalkerError
from r2talker.progress import Progress, Silent
from r2talker.train.motion import (
    REPORT_STEPS,
    Fit,
    check_clip,
    held_loss,
    one_thread,
    prepare_fit,
)
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.motion_start import HEARING, MotionStart


@dataclass(frozen=True)
class PersonClip:
    """One person: 16 kHz mono samples, and landmark displacements at 25 fps from the first sample on."""

    samples: Float[Tensor, " samples"]
    landmarks: Float[Tensor, "frames 68 3"]


def pretrain_motion(
    clips: Sequence[PersonClip], config: MotionTrainingConfig | None = None, progress: Progress | None = None
) -> MotionStart:
    """Hearing layers that suit all the people of `clips`; R2TalkerError as `train_motion`, and for no clip at all."""
    config, progress = config or MotionTrainingConfig(), progress or Silent()
    if not clips:
        raise R2TalkerError("the landmark generator needs at least one clip to learn from")
    for clip in clips:
        check_clip(clip.samples, clip.landmarks, clip.landmarks.shape[0])
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(config.seed)
        fits = [_prepare(clip, config, torch.Generator().manual_seed(config.seed + k)) for k, clip in enumerate(clips)]
        for name in HEARING:
            shared = getattr(fits[0].model, name)
            for fit in fits[1:]:
                setattr(fit.model, name, shared)
        _run(fits, config, progress)
    losses = ", ".join(f"{held_loss(fit.model, fit.data, fit.held):.2f}" for fit in fits)
    progress.end(f"hearing layers from {len(fits)} clips, held-out losses {losses}")
    return MotionStart.of(fits[0].model, len(fits))


def _prepare(clip: PersonClip, config: MotionTrainingConfig, generator: torch.Generator) -> Fit:
    samples, landmarks = clip.samples.detach().cpu().float(), clip.landmarks.detach().cpu().float()
    return prepare_fit(samples, landmarks, None, config, generator, torch.device("cpu"))


def _run(fits: list[Fit], config: MotionTrainingConfig, progress: Progress) -> None:
    """Steps over all people together; each counts the same, however long the clip."""
    # The shared layers appear once.
    parameters = list(nn.ModuleList([fit.model for fit in fits]).parameters())
    optimizer = torch.optim.AdamW(parameters, lr=config.rate, weight_decay=config.weight_decay)
    progress.begin("hearing layers", config.steps)
    began, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.rate_at(done)
        loss = torch.stack([fit.loss() for fit in fits]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        done = max(step / config.steps, (time.monotonic() - began) / config.seconds)
        if step % REPORT_STEPS == 0:
            progress.advance(step, f"loss {loss.item() / config.model.members:.3f}")
