"""Takes the tremble out of landmarks without holding back the lips."""

import torch
from jaxtyping import Float
from torch import Tensor

_MOUTH = slice(48, 68)


class Steadier:
    """Each frame goes from the last one shown towards the new one: all the way when the mouth moves as fast as it usually does,
    less the less it moves. A lip closure is therefore not a frame late, and a mouth at rest does not shiver.
    """

    def __init__(self, pace: float, least: float) -> None:
        """pace: root mean square change of a mouth coordinate per frame that counts as usual. least: share of tiny movements."""
        self._pace, self._least = pace, least
        self._shown: Tensor | None = None

    def advance(self, landmarks: Float[Tensor, "frames 68 3"]) -> Float[Tensor, "frames 68 3"]:
        """The next frames."""
        if len(landmarks) == 0 or self._least >= 1 or self._pace <= 0:
            return landmarks
        shown = []
        for frame in landmarks:
            if self._shown is None:
                self._shown = frame
            change = frame - self._shown
            share = (self._least + change[_MOUTH].square().mean().sqrt() / self._pace).clamp(max=1)
            self._shown = self._shown + share * change
            shown.append(self._shown)
        # A view would keep the whole piece.
        self._shown = shown[-1].clone()
        return torch.stack(shown)
