"""Rendered pictures brought from the device to the host while the next ones are drawn."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor


def copy_to_host(
    batches: Iterable[UInt8[Tensor, "batch height width 3"]],
) -> Iterator[UInt8[np.ndarray, "batch height width 3"]]:
    """Yield every batch as an array of its own, which the caller may keep; all batches lie on one device.

    A batch of `batches` must stay as it is until the next but one is asked for (`Renderer.draw`). On a GPU the copies run on a
    stream of their own into pinned memory, one batch behind the drawing. Torch's pinned allocator takes an array's memory back
    once nobody holds it, so as many buffers come into being as are alive at once.
    """
    side: torch.cuda.Stream | None = None
    waiting: tuple[torch.cuda.Event, Tensor] | None = None
    for drawn in batches:
        if not drawn.is_cuda:
            yield drawn.numpy().copy()
            continue
        side = side or torch.cuda.Stream(drawn.device)
        copy = _start_copy(drawn, side)
        if waiting is not None:
            yield _landed(*waiting)
        waiting = copy
    if waiting is not None:
        yield _landed(*waiting)


def _start_copy(drawn: Tensor, side: torch.cuda.Stream) -> tuple[torch.cuda.Event, Tensor]:
    side.wait_stream(torch.cuda.current_stream(drawn.device))
    with torch.cuda.stream(side):
        host = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=True)
        host.copy_(drawn, non_blocking=True)
        # A blocking event leaves the processor to the encoder instead of spinning.
        copied = torch.cuda.Event(blocking=True)
        copied.record(side)
    return copied, host


def _landed(copied: torch.cuda.Event, host: Tensor) -> np.ndarray:
    copied.synchronize()
    return host.numpy()
