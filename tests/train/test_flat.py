"""The schedule of training on a GPU, which lies on the device; none of this needs one."""

import pytest
import torch
from torch import nn

from r2talker.model.parameters import ParameterGroup
from r2talker.train.flat import FlatWeights, decaying_rates

CPU = torch.device("cpu")


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> FlatWeights:
    monkeypatch.setattr("r2talker.train.flat.load_kernels", lambda *_: None)
    groups = [ParameterGroup("all", [nn.Parameter(torch.zeros(6))], 1e-2)]
    return FlatWeights(groups, decaying_rates(100, CPU, warmup=10), [], average_steps=100)


def test_a_shorter_plan_is_written_where_recorded_graphs_read_it(weights: FlatWeights) -> None:
    before = weights.adam.rates
    assert not weights.replan(decaying_rates(50, CPU, warmup=10), 50)
    assert weights.adam.rates is before
    assert torch.equal(before[:51], decaying_rates(50, CPU, warmup=10))
    assert before[50] == pytest.approx(0.1)


def test_a_longer_plan_moves_and_leaves_room_to_grow(weights: FlatWeights) -> None:
    assert weights.replan(decaying_rates(1000, CPU), 1000)
    assert torch.equal(weights.adam.rates[:1001], decaying_rates(1000, CPU))
    # What comes after the end stays where the schedule ended.
    assert weights.adam.rates[1001:].eq(weights.adam.rates[1000]).all()
    assert not weights.replan(decaying_rates(1400, CPU), 1400)
    assert weights.replan(decaying_rates(2000, CPU), 2000)
