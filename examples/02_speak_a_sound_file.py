"""Let an avatar speak: python examples/02_speak_a_sound_file.py AVATAR SPEECH.wav OUT.mp4"""

import sys
from pathlib import Path

from r2talker import Avatar


def main(avatar: Path, speech: Path, output: Path) -> int:
    """Render on white; returns the number of frames."""
    return Avatar.load(avatar).render_video(output, audio=speech, background=(255, 255, 255))


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])), "frames")
