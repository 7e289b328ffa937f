"""Pictures of what does not move: the mean of more and more jittered renderings, as in the reference's viewer (upstream.md 6.10)."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from r2talker.live.performer import Moved
from r2talker.live.views import Drawer, View

KNOWN = 16
"""Listeners whose picture is remembered."""


@dataclass
class _Still:
    """The sum of `count` renderings of one frame under one view."""

    moved: Moved
    view: View
    sum: Float32[np.ndarray, "side side 3"]
    count: int


class Stills:
    """Accumulates up to `Look.max_spp` renderings for every listener. Not to be used by two threads at once."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self._stills: OrderedDict[str, _Still] = OrderedDict()

    def draw(self, listener: str, moved: Moved, view: View) -> UInt8[np.ndarray, "side side 3"]:
        """The picture; a better one every time as long as nothing changes, and no rendering at all when it is good enough."""
        known = self._stills.get(listener)
        if known is None or known.view != view or not _alike(known.moved, moved):
            (picture,) = self._drawer.draw([moved], view)
            known = _Still(moved, view, picture.astype(np.float32), 1)
            self._stills[listener] = known
        elif known.count < view.look.max_spp:
            known.sum += self._drawer.draw_jittered(moved, view, known.count)
            known.count += 1
        self._stills.move_to_end(listener)
        if len(self._stills) > KNOWN:
            self._stills.popitem(last=False)
        return np.rint(known.sum / known.count).astype(np.uint8)


def _alike(one: Moved, other: Moved) -> bool:
    pairs = ((one.window, other.window), (one.eye, other.eye), (one.c2w, other.c2w))
    return all(torch.equal(first, second) for first, second in pairs)
