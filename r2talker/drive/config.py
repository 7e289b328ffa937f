"""Size of the audio-to-landmark model. Light: the command line builds its help from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionConfig:
    """What `MotionModel` needs besides its weights; plain numbers, so that it can be stored as JSON."""

    bands: int = 24
    """Log-mel bands."""

    look_back_ms: int = 160
    """Sound before a frame that the model hears, milliseconds."""

    look_ahead_ms: int = 120
    """Sound after the 40 ms of a frame that must have arrived before the frame can be made, milliseconds."""

    components: int = 12
    """Principal components of the person's lower face that the model can move."""

    hidden: int = 128
    """Units of each hidden layer."""

    members: int = 4
    """Networks whose outputs are averaged, each early-stopped on another part of the clip."""
