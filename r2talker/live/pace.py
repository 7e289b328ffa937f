"""Which side of picture keeps up: resolution goes down before pictures are dropped."""

from collections.abc import Sequence

BUDGET = 0.8
"""Share of a frame's time that drawing may take; the rest is for sound, encoder and network."""
ROOM = 0.65
"""A larger picture is tried when it is expected to take less than this share."""
PATIENCE = 1.5
"""Seconds for which there must be room before that."""
SMOOTHING = 0.2
SIDES = (64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024)


def sides(full: int) -> list[int]:
    """Sides that pictures of an avatar trained at `full` may have, ascending; larger than twice the training's show nothing new."""
    return sorted({side for side in SIDES if side <= max(2 * full, 256)} | ({full} if full % 2 == 0 else set()))


class Pace:
    """Chooses among ascending `sides` by measured times. frame_seconds: what all sessions together have for one frame each."""

    def __init__(self, sides: Sequence[int], start: int, frame_seconds: float = 0.04) -> None:
        self.sides = list(sides)
        self.side = max((side for side in self.sides if side <= start), default=self.sides[0])
        self._most = self.side
        self._budget = frame_seconds
        self._seconds: dict[int, float] = {}
        self._roomy_since: float | None = None

    def note(self, side: int, seconds: float) -> None:
        """A picture of this side took so long."""
        if side in self.sides:
            known = self._seconds.get(side, seconds)
            self._seconds[side] = known + SMOOTHING * (seconds - known)

    def choose(self, sessions: int, now: float) -> int:
        """The side to draw with now, for so many sessions; never more than the start's."""
        budget = self._budget / max(sessions, 1)
        spent = self._expected(self.side)
        place = self.sides.index(self.side)
        if spent is None:
            return self.side
        if spent > BUDGET * budget and place > 0:
            fitting = [side for side in self.sides[:place] if (self._expected(side) or 0.0) <= BUDGET * budget]
            self.side, self._roomy_since = (max(fitting) if fitting else self.sides[0]), None
            # What was measured under another load would hold it down, or up, for ever.
            self._forget_larger()
            return self.side
        larger = self.sides[place + 1] if place + 1 < len(self.sides) and self.sides[place + 1] <= self._most else None
        if larger is None or spent * (larger / self.side) ** 2 > ROOM * budget:
            self._roomy_since = None
        elif self._roomy_since is None:
            self._roomy_since = now
        elif now - self._roomy_since > PATIENCE:
            self.side, self._roomy_since = larger, None
            self._seconds.pop(larger, None)
        return self.side

    def _expected(self, side: int) -> float | None:
        """Time of a picture, from the nearest side that was measured; time goes with the number of pixels at most."""
        if not self._seconds:
            return None
        nearest = min(self._seconds, key=lambda known: abs(known - side))
        share = (side / nearest) ** 2
        return self._seconds[nearest] * share

    def _forget_larger(self) -> None:
        self._seconds = {side: seconds for side, seconds in self._seconds.items() if side <= self.side}
