"""The regenerated inputs are the stored ones, bit for bit."""

import numpy as np
import pytest

from tests.golden.regenerate import (
    METHODS,
    background,
    camera,
    golden,
    meta,
    model_inputs,
    model_weights,
    occupancy,
    op_inputs,
    probe,
)
from tests.tolerances import assert_close


@pytest.mark.parametrize("key", sorted(op_inputs()))
def test_operator_inputs(key: str) -> None:
    np.testing.assert_array_equal(op_inputs()[key], golden("ops")[key])


def test_camera_and_occupancy() -> None:
    view = camera()
    assert_close(view.c2w, golden("ops")["rays/pose"], "golden rays")
    np.testing.assert_array_equal([view.fx, view.fy, view.cx, view.cy], golden("ops")["rays/intrinsics"])
    np.testing.assert_array_equal(occupancy().bitfield, golden("ops")["occupancy/bitfield"])
    assert (occupancy().density > 0).sum() == golden("ops")["occupancy/count"]


@pytest.mark.parametrize("method", METHODS)
def test_model_inputs_and_weights(method: str) -> None:
    stored, inputs = golden(method), model_inputs(method)
    for name in ("window", "x", "d", "train_target"):
        np.testing.assert_array_equal(getattr(inputs, name), stored[name].reshape(getattr(inputs, name).shape))
    assert_close(background(), stored["background"], "golden picture")
    weights, shapes = model_weights(method), meta()["models"][method]["state_dict"]
    assert all(list(values.shape) == shapes[key][0] for key, values in weights.items())
    assert set(shapes) - set(weights) <= {
        key for key in shapes if key.endswith("offsets") or key.startswith(("aabb_", "step_"))
    }
    assert probe(method, "sigma_net.net.2.weight").shape == weights["sigma_net.net.2.weight"].shape
