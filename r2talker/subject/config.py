"""What the procedural person looks and sounds like. Light: the command line builds its help from this."""

from dataclasses import dataclass
from typing import Literal

FPS = 25.0
AUDIO_RATE = 16000


@dataclass(frozen=True)
class SubjectConfig:
    """One procedural person in one clip; equal settings give equal files."""

    size: int = 256
    """Width and height of the picture in pixels."""
    seconds: float = 16.0
    """Length of the clip; pictures come at 25 per second."""
    seed: int = 0
    """What is said and how the head, brows and lids move."""
    skin: Literal["fair", "tan", "brown"] = "fair"
    """Colour of the skin."""
    hair: Literal["black", "brown", "blond", "red", "grey"] = "brown"
    """Colour of hair and brows."""
    eyes: Literal["brown", "blue", "green"] = "brown"
    """Colour of the irises."""
    jacket: Literal["navy", "charcoal", "burgundy", "teal"] = "navy"
    """Colour of the jacket."""
    glasses: bool = False
    """Whether the person wears glasses."""
    movement: float = 1.0
    """Size of the head's movements; 0 holds the head still, 1 turns it by up to 12 degrees."""
    pitch: float = 120.0
    """Mean pitch of the voice in Hz."""
    masks: bool = True
    """Whether `truth.npz` holds the label of every pixel (head, neck, torso, background)."""

    @property
    def frames(self) -> int:
        """Number of pictures."""
        return round(self.seconds * FPS)

    @property
    def focal(self) -> float:
        """Focal length in pixels, the pipeline's default of 1200 at 512."""
        return 1200 / 512 * self.size
