"""The grid encoding's kernels against its reference: values, table gradients, slopes."""

import pytest
import torch

from r2talker.ops.grid_encode import reference
from r2talker.ops.grid_encode.cuda import PARTS, encode_with
from r2talker.ops.grid_encode.layout import GridLayout
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

LAYOUTS = {
    "2d": GridLayout(2, 2, base=4, finest=16, levels=3, log2_table=5),
    "3d": GridLayout(3, 2, base=4, finest=32, levels=4, log2_table=8),
    "hash": GridLayout(3, 2, base=4, finest=32, levels=4, log2_table=8, kind="hash"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("points", [0, 1, 63, 700])
def test_values_and_gradients(backend: Backend, name: str, points: int) -> None:
    layout, device = LAYOUTS[name], backend.device
    kernels = backend.load(PARTS, {"DIM": layout.input_dim, "CHANNELS": layout.channels, "LEVELS": layout.levels})
    generator = torch.Generator().manual_seed(points)
    # One point in ten lies outside and encodes to zeros.
    x = (torch.rand(points, layout.input_dim, generator=generator) * 2.2 - 1.1).to(device).requires_grad_()
    table = torch.randn(layout.rows, layout.channels, generator=generator).to(device).requires_grad_()
    cotangent = torch.randn(points, layout.features, generator=generator).to(device)
    ours = encode_with(kernels, x, table, layout, 1.0)
    theirs = reference.encode(x, table, layout, 1.0)
    assert_close(ours, theirs, "grid bags")
    of_x, of_table = torch.autograd.grad(ours, (x, table), cotangent)
    expected_x, expected_table = torch.autograd.grad(theirs, (x, table), cotangent)
    assert_close(of_table, expected_table, "grid bags gradient")
    scale = expected_x.abs().amax().clamp_min(1) if points else 1.0
    assert_close(of_x / scale, expected_x / scale, "grid bags slope")
