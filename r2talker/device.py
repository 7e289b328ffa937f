"""Where tensors live: the name of a device resolved once, with an answer for people when it is not there."""

import torch

from r2talker.errors import R2TalkerError


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA when there is one, else the CPU.

    Raises R2TalkerError for CUDA that is asked for and absent, and for a name that torch does not know.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise R2TalkerError(f"there is no device {name!r}; choose auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise R2TalkerError(
            f"device {name} was asked for, but torch sees no CUDA device; use cpu or install a CUDA build of torch"
        )
    return device
