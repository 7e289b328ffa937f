"""Rendered pictures brought from the device to the host while the next ones are drawn."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from r2talker.ops.yuv420.op import rgb_to_yuv420

PLANAR_ON = ("cuda",)
"""Devices that turn pictures into the encoder's planes before the copy. A CPU does it faster in the encoder's thread."""


def leaves_as_planes(device: torch.device) -> bool:
    """Whether pictures for an encoder leave `device` as yuv420p, half the bytes of RGB."""
    return device.type in PLANAR_ON


def lay_out(
    batches: Iterable[UInt8[Tensor, "batch height width 3"]], device: torch.device
) -> Iterator[UInt8[Tensor, "batch *picture"]]:
    """Batches of pictures as they leave `device` for an encoder: planes where `leaves_as_planes`, else as they are."""
    yield from map(rgb_to_yuv420, batches) if leaves_as_planes(device) else batches


def copy_to_host(batches: Iterable[UInt8[Tensor, "batch *picture"]]) -> Iterator[UInt8[np.ndarray, "batch *picture"]]:
    """Yield every batch as an array of its own, which the caller may keep; all batches lie on one device.

    A batch of `batches` must stay as it is until the next but one is asked for (`Renderer.draw`). On a GPU the copies run on a
    stream of their own into pinned memory, one batch behind the drawing. Torch's pinned allocator takes an array's memory back
    once nobody holds it, so as many buffers come into being as are alive at once.
    """
    side: torch.cuda.Stream | None = None
    # The batch is kept with its copy: freed before, its memory could be given to something else on the drawing's stream.
    waiting: tuple[torch.cuda.Event, Tensor, Tensor] | None = None
    for drawn in batches:
        if not drawn.is_cuda:
            yield drawn.numpy().copy()
            continue
        side = side or torch.cuda.Stream(drawn.device)
        copy = _start_copy(drawn, side)
        if waiting is not None:
            yield _landed(*waiting[:2])
        waiting = (*copy, drawn)
    if waiting is not None:
        yield _landed(*waiting[:2])


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
