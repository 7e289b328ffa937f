"""The condition encoder of RAD-NeRF, which GeneFace's landmarks share: a small 1D CNN per frame, then attention over the window."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.02


class FrameEncoder(nn.Module):
    """One window frame [T, C_in] to 64 numbers: four convolutions of width 3 and two linear maps (upstream.md 4.2).

    rows: T, 16 for audio (each convolution halves it) or 1 for landmarks (stride 1).
    """

    def __init__(self, inputs: int, rows: int) -> None:
        super().__init__()
        stride = 2 if rows == 16 else 1
        widths = [inputs, 32, 32, 64, 64]
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 3, stride=stride, padding=1) for a, b in pairwise(widths))
        self.linears = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64)])

    def forward(self, x: Float[Tensor, "frames rows inputs"]) -> Float[Tensor, "frames 64"]:
        x = x.transpose(1, 2)
        for convolution in self.convolutions:
            x = nn.functional.leaky_relu(convolution(x), SLOPE)
        first, second = self.linears
        return second(nn.functional.leaky_relu(first(x.squeeze(-1)), SLOPE))


class WindowAttention(nn.Module):
    """Softmax-weighted mean over the window; the weights come from convolutions along it (upstream.md 4.2)."""

    def __init__(self, window: int) -> None:
        super().__init__()
        widths = [64, 16, 8, 4, 2, 1]
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.linear = nn.Linear(window, window)

    def forward(self, x: Float[Tensor, "frames window 64"]) -> Float[Tensor, "frames 64"]:
        y = x.transpose(1, 2)
        for convolution in self.convolutions:
            y = nn.functional.leaky_relu(convolution(y), SLOPE)
        weights = torch.softmax(self.linear(y.squeeze(1)), dim=-1)
        return torch.einsum("bw,bwc->bc", weights, x)
