"""Drive an avatar with landmarks of your own: python examples/03_move_the_landmarks_yourself.py AVATAR OUT.mp4"""

import sys
from pathlib import Path

import torch

from r2talker import Avatar


def main(avatar: Path, output: Path, *, frames: int = 50) -> int:
    """Fade from the person's rest face to its widest open mouth and back, holding the first head pose; returns the number of frames."""
    loaded = Avatar.load(avatar)
    displacements = loaded.track.displacements
    opening = (displacements[:, 66] - displacements[:, 62]).norm(dim=-1)
    widest = displacements[opening.argmax()]
    share = torch.sin(torch.linspace(0, torch.pi, frames, device=loaded.device))
    return loaded.render_video(output, landmarks=share[:, None, None] * widest, poses=0)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])), "frames")
