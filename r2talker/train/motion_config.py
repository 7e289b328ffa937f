"""Settings of the landmark generator's training; imports no torch, because the command line builds its help from them."""

import math
from dataclasses import dataclass, field

from r2talker.drive.config import MotionConfig

_WARM_UP = 0.1


@dataclass(frozen=True)
class MotionTrainingConfig:
    """How the model from sound to landmarks is trained; 500 steps take about 8 s on two idle cores."""

    model: MotionConfig = field(default_factory=MotionConfig)
    """Size of the model."""
    steps: int = 500
    """Most steps."""
    seconds: float = 60.0
    """Most seconds; the learning rate falls to zero by whichever of the two ends first."""
    frames: int = 256
    """Frames per member and step, in runs of four."""
    rate: float = 3e-3
    """Learning rate at its peak."""
    weight_decay: float = 0.05
    """Pull of the weights towards zero (AdamW)."""
    dropout: float = 0.5
    """Share of hidden units silenced in each training step."""
    variants: int = 2
    """Altered copies of the sound: speed and pitch, noise, room."""
    feature_noise: float = 0.3
    """Standard deviation of the noise on the normalised features."""
    level: float = 0.2
    """Standard deviation of a random shift of all bands together, in the same unit."""
    velocity: float = 0.5
    """Weight of the error of frame differences."""
    lips: float = 1.0
    """Weight of the error of mouth opening, width and lip height; frames with closed lips count double in all but velocity."""
    silence: float = 0.05
    """Frames of silence or steady noise, where the mouth is shut, per training frame; also their weight."""
    articulation: float = 0.85
    """Spread of the generated mouth opening, relative to the tracked one, up to which the output is amplified."""
    start: str = ""
    """File of `r2talker train-motion` whose hearing layers the new person starts from; empty: from chance."""
    start_share: float = 0.3
    """Learning rate of layers that were taken over, relative to the others'."""
    seed: int = 0
    """Seed of initial weights and of everything drawn."""

    def rate_at(self, done: float) -> float:
        """Learning rate when that share of the training is done: up over a tenth of it, then down along a cosine to zero."""
        return self.rate * min(1.0, (done + 1e-3) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
