"""The networks of LPIPS 0.1 on AlexNet, and reading their weights from files that users of this family have.

Written from Krizhevsky 2014 ("One weird trick", the single-column AlexNet) and Zhang et al. 2018; the tensors have the names of
the published files, which are the user's own.
"""

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from r2talker.errors import R2TalkerError

BACKBONE, LINEAR = "alexnet*.pth", "*alex.pth"
"""Names of the files: AlexNet as torchvision keeps it, the linear weights of LPIPS 0.1."""

SMALLEST = 32
"""Pictures with a shorter side leave nothing for the last layers to see."""

CHANNELS = (64, 192, 384, 256, 256)
# Number of each convolution inside `features` of the file, its kernel, stride and padding, and whether the picture is halved before.
_LAYERS = ((0, 11, 4, 2, False), (3, 5, 1, 2, True), (6, 3, 1, 1, True), (8, 3, 1, 1, False), (10, 3, 1, 1, False))
_MEAN, _STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_WRONG = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError)


class Lpips(nn.Module):
    """Five layers of AlexNet and one weight per channel of each."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, padding)
            for (before, after), (_, kernel, stride, padding, _) in zip(pairwise(inputs), _LAYERS, strict=True)
        )
        self.weights = nn.ParameterList(torch.zeros(1, channels, 1, 1) for channels in CHANNELS)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch channels rows columns"]]:
        """What each layer sees in colours of [-1, 1], after its ReLU."""
        x, seen = (x - self.mean) / self.std, []
        for convolution, (*_, halved) in zip(self.convolutions, _LAYERS, strict=True):
            x = relu(convolution(max_pool2d(x, 3, 2) if halved else x))
            seen.append(x)
        return seen

    def forward(
        self, a: Float[Tensor, "batch 3 height width"], b: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """Weighted squared difference of unit-length features, averaged over each layer's picture and summed over layers."""
        total = a.new_zeros(len(a))
        for left, right, weight in zip(self.features(a), self.features(b), self.weights, strict=True):
            difference = (_unit(left) - _unit(right)) ** 2
            total = total + conv2d(difference, weight).mean((1, 2, 3))
        return total


def load_lpips(folder: Path, device: torch.device | None = None) -> Lpips:
    """The network with the weights in `folder`; nothing but tensors is read.

    Raises R2TalkerError when one of the two files is missing, damaged, or holds other tensors.
    """
    found = {pattern: sorted(folder.glob(pattern)) for pattern in (BACKBONE, LINEAR)}
    if not any(found.values()):
        raise R2TalkerError(f"{folder} holds neither {BACKBONE} nor {LINEAR}; LPIPS needs a folder with both")
    for pattern, paths in found.items():
        if not paths:
            raise R2TalkerError(
                f"{folder} holds no {pattern}; LPIPS needs both {BACKBONE} (AlexNet) and {LINEAR} (linear weights)"
            )
    network = Lpips()
    backbone, linear = (_read(paths[0]) for paths in found.values())
    for layer, ((number, *_), weight) in enumerate(zip(_LAYERS, network.weights, strict=True)):
        for kind, parameter in network.convolutions[layer].named_parameters():
            _fill(parameter, backbone, f"features.{number}.{kind}", found[BACKBONE][0])
        _fill(weight, linear, f"lin{layer}.model.1.weight", found[LINEAR][0])
    return network.eval().requires_grad_(False).to(device or torch.device("cpu"))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except _WRONG as error:
        raise R2TalkerError(f"{path} is damaged or holds more than tensors; fetch it again") from error
    if not isinstance(state, Mapping):
        raise R2TalkerError(f"{path} holds no named tensors; give a state dict")
    return state


@torch.no_grad()
def _fill(parameter: Tensor, state: Mapping[str, Any], name: str, path: Path) -> None:
    value = state.get(name)
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        got = f"of shape {list(value.shape)}" if isinstance(value, Tensor) else "missing"
        raise R2TalkerError(
            f"{path} does not fit LPIPS on AlexNet: {name} is {got}, expected {list(parameter.shape)}; give the published file"
        )
    parameter.copy_(value)


def _unit(x: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch channels rows columns"]:
    """Features of length one at every place; the small term keeps an empty place at zero."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
