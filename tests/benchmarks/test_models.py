"""Models of the scene: where they can be occupied, what a sample costs, saved heads."""

from pathlib import Path

import pytest
import torch

from benchmarks.models import (
    build_model,
    count_samples,
    encode_codes,
    head_hull,
    load_model,
    sample_cost,
    save_model,
    stand_in,
)
from benchmarks.scene import AXES, make_clip
from r2talker import methods
from r2talker.errors import R2TalkerError
from r2talker.render.config import RenderSettings
from tests.tolerances import assert_close

SIZE = 32
CPU = torch.device("cpu")
NAMES = methods.available()


def test_the_hull_holds_the_ellipsoid_and_little_more() -> None:
    points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    radius = (points / torch.tensor(AXES)).norm(dim=-1)
    possible = head_hull(make_clip(64), points, RenderSettings())
    assert possible[radius < 1].all()
    # Sideways the views tell; in depth, along axis 1, they hardly differ.
    outline = (points[:, [0, 2]] / torch.tensor([AXES[0], AXES[2]])).norm(dim=-1)
    assert not possible[outline > 1.6].any()
    assert not possible[points[:, 1].abs() > 0.5].any()


def test_the_least_a_sample_costs() -> None:
    """r2talker at full size: three layers of 64, colour from 16 + 64 + 4; two corners to a sector.

    A level reads the third coordinate while the square of its corners per side fits 65536 rows, which eight of sixteen do.
    """
    cost = sample_cost(build_model("r2talker", 512, CPU))
    assert cost.operations == 2 * (65 * 64 + 64 * 64 + 64 * 65 + 84 * 64 + 64 * 3)
    assert cost.moved == 32 * (8 * 4 + 8 * 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_stand_in_is_occupied_where_the_ellipsoid_is(name: str) -> None:
    clip = make_clip(SIZE)
    model = stand_in(name, SIZE, CPU, torso=True)
    samples = count_samples(model, clip.camera(0), RenderSettings())
    hits = int(clip.masks[0].sum())
    assert hits < samples < 16 * hits
    assert model.torso is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_head_comes_back(name: str, tmp_path: Path) -> None:
    model, clip = stand_in(name, SIZE, CPU), make_clip(SIZE)
    save_model(tmp_path / "a.safetensors", model, SIZE)
    again = load_model(tmp_path / "a.safetensors", name, SIZE, CPU, torso=True)
    assert_close(encode_codes(again, clip), encode_codes(model, clip), "exact")
    assert torch.equal(again.occupancy.bitfield, model.occupancy.bitfield)
    assert again.torso is not None
    with pytest.raises(R2TalkerError, match=rf"does not hold a {name} head for 256 pixels"):
        load_model(tmp_path / "a.safetensors", name, 256, CPU)
