"""Size of the audio-to-landmark model, and what calms motion. Light: the command line builds its help from it."""

from dataclasses import dataclass

from r2talker.errors import R2TalkerError
from r2talker.settings import require_at_least


@dataclass(frozen=True)
class Smoothing:
    """What calms recorded and driving motion before it is rendered."""

    smooth_path: int = 7
    """Frames whose mean each replayed head pose is; 1 replays poses as they are."""
    smooth_eyes: int = 1
    """Frames whose mean each replayed eye value is; 1 replays them as they are, the original tester takes 3."""
    smooth_lips: float = 0.0
    """Share of the previous frame's encoded drive that a frame keeps, 0 to below 1; the original tester keeps 0.35."""
    landmark_limit: float | None = None
    """Standard deviations from the clip's mean within which landmarks are held, half as many for brows and eyes across and up;
    by default they move freely, the original tester takes 2.3."""

    def __post_init__(self) -> None:
        require_at_least(self, smooth_path=1, smooth_eyes=1, smooth_lips=0, landmark_limit=0)
        if self.smooth_lips >= 1:
            raise R2TalkerError(f"--smooth-lips is a share of the previous frame and must be below 1, got {self.smooth_lips:g}")


@dataclass(frozen=True)
class MotionConfig:
    """What `MotionModel` needs besides its weights; plain numbers, so that it can be stored as JSON."""

    bands: int = 24
    """Log-mel bands."""

    look_back_ms: int = 160
    """Sound before a frame that the model hears, milliseconds."""

    look_ahead_ms: int = 120
    """Sound after the 40 ms of a frame that must have arrived before the frame can be made, milliseconds."""

    blur_rows: int = 1
    """Rows of 20 ms by which the networks' window is moved to either side; their outputs are averaged."""

    components: int = 12
    """Principal components of the person's lower face that the model can move."""

    hidden: int = 128
    """Units of each hidden layer."""

    members: int = 4
    """Networks whose outputs are averaged, each trained without another part of the clip."""

    remembered: int = 0
    """Landmark frames of the clip that the model keeps, evenly spaced over it, to stay near them; training sets it."""

    nearness: float = 0.7
    """Share of the way from what the networks say to the nearest that the person's face has done, 0 to 1."""

    tremble: float = 0.5
    """Share of a movement far smaller than the person's usual ones that a frame makes at once; 1 leaves tremble as it is."""

    syllables: float = 0.5
    """Standard deviations by which the mouth of a strange voice opens further per 10 dB of loudness."""
