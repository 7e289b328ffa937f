"""How people say which pictures training is to leave out; imported for `--help`, so it stays light."""

from collections.abc import Iterable

from r2talker.errors import R2TalkerError

WORST, NONE = "worst", "none"


def parse_exclusion(text: str) -> tuple[set[int], bool, bool]:
    """Numbers that `text` names, whether it asks for the worst pictures, and whether what stood before is taken back.

    `text` is a list with commas of numbers, ranges `first-last`, `worst` and `none`. Raises R2TalkerError for anything else.
    """
    frames: set[int] = set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        first, dash, last = word.partition("-")
        if first.isdecimal() and (last.isdecimal() if dash else True) and int(last or first) >= int(first):
            frames |= set(range(int(first), int(last or first) + 1))
        elif word not in (WORST, NONE):
            raise R2TalkerError(
                f"--exclude {text}: {word!r} is no picture number; give numbers and ranges such as 120-140,300, or {WORST}, or {NONE}"
            )
    return frames, WORST in words, NONE in words


def format_frames(frames: Iterable[int]) -> str:
    """Numbers as `parse_exclusion` reads them: consecutive ones become ranges."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
