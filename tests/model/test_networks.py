"""FiLM, grids that start linear, the conditioning contract, parameter groups."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from r2talker import methods
from r2talker.methods.r2talker import START_SPREAD, LandmarkFilm
from r2talker.model.conditioning import Conditioning
from r2talker.model.grid import Grid
from r2talker.model.head import FrameCode, Head, HeadConfig
from r2talker.model.method import ConditioningShape
from r2talker.model.mlp import MLP, Film
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.model.upstream_names import upstream_name
from r2talker.ops.grid_encode.layout import GridLayout
from tests.tolerances import assert_close

FEATURE_WIDTH, CLIP = 20, 40
METHODS = methods.available()
LAYOUTS = {
    f"{name}-{kind}": getattr(methods.get(name), f"{kind}_grid") for name in METHODS for kind in ("trained", "condition")
} | {"3d in 3 channels": GridLayout(3, 3, base=5, finest=40, levels=4), "2d in 4 channels": GridLayout(2, 4, base=8, finest=64)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def conditioning_of(name: str) -> nn.Module:
    """The method's fresh conditioning, as our own avatars build it."""
    method = methods.get(name)
    return method.build(ConditioningShape(FEATURE_WIDTH, method.position_grid.features, method.trained_grid))


def clip_of(name: str) -> Tensor:
    """Windows of a clip: every landmark or feature wanders about its own mean."""
    drive = methods.get(name).drive
    shape = (68, 3) if drive.kind == "landmarks" else (16, FEATURE_WIDTH)
    means, steps = 0.2 * torch.randn(shape), 0.15 * torch.randn(CLIP, drive.window, *shape)
    return (means + steps).clamp(-0.95, 0.95)


class TestFilm:
    def test_scale_multiplies_and_shift_adds_between_the_linear_map_and_the_relu(self) -> None:
        net, x = MLP(7, 3, 5, 3), torch.randn(11, 7)
        film = Film(scale=torch.randn(2, 5), shift=torch.randn(2, 5))
        h = x
        for k in range(2):
            h = torch.relu((h @ net.layers[k].weight.T) * (1 + film.scale[k]) + film.shift[k])
        assert_close(net(x, film), h @ net.layers[2].weight.T, "FiLM")

    def test_zeros_change_nothing(self) -> None:
        net, x = MLP(7, 3, 5, 3), torch.randn(11, 7)
        assert_close(net(x, Film(torch.zeros(2, 5), torch.zeros(2, 5))), net(x), "FiLM")

    def test_the_first_half_of_a_style_adds_and_the_second_multiplies(self) -> None:
        conditioning = LandmarkFilm(GridLayout(3, 2, base=4, finest=8, levels=2))
        styles = torch.arange(2 * 128, dtype=torch.float32).reshape(2, 128)
        for net, style in zip(conditioning.style_nets, styles, strict=True):
            net.forward = lambda encoded, style=style: style.expand(len(encoded), -1)
        code = conditioning.encode(torch.zeros(1, 5, 68, 3))[0]
        film = conditioning.condition(torch.zeros(1, 64), code).film
        assert_close(film.shift, styles[:, :64], "exact")
        assert_close(film.scale, styles[:, 64:], "exact")


class TestLinearStart:
    @pytest.mark.parametrize("name", sorted(LAYOUTS))
    @pytest.mark.parametrize("level", [0, 1])
    def test_encodes_position_linearly_along_orthonormal_axes(self, name: str, level: int) -> None:
        layout = LAYOUTS[name]
        grid = Grid(layout)
        grid.start_linear()
        x = torch.rand(500, layout.input_dim) * 0.6 - 0.3
        used = min(layout.channels, layout.input_dim)
        encoded = grid(x)[:, layout.channels * level :][:, :used].detach()
        axes = torch.linalg.lstsq(x, encoded).solution
        assert_close(x @ axes, encoded, "linear grid")
        assert_close(axes.T @ axes, torch.eye(used), "linear grid")

    def test_holds_everywhere_where_the_table_has_room(self) -> None:
        layout = GridLayout(3, 3, base=5, finest=40, levels=4)
        grid = Grid(layout)
        grid.start_linear()
        x = torch.rand(500, 3) * 2 - 1
        encoded = grid(x)[:, :3].detach()
        assert_close(x @ torch.linalg.lstsq(x, encoded).solution, encoded, "linear grid")

    def test_holds_near_the_middle_where_the_table_wraps(self) -> None:
        layout = GridLayout(3, 3, base=32, finest=64, levels=2, log2_table=13)
        assert len(layout.strides[0]) == 3
        assert sum(layout.strides[0]) * layout.resolutions[0] > 2 * layout.sizes[0]
        grid = Grid(layout)
        grid.start_linear()
        x = torch.rand(300, 3) * 0.16 - 0.08
        encoded = grid(x)[:, :3].detach()
        assert_close(x @ torch.linalg.lstsq(x, encoded).solution, encoded, "linear grid")

    @pytest.mark.parametrize("name", sorted(LAYOUTS))
    def test_distinct_points_are_told_apart(self, name: str) -> None:
        layout = LAYOUTS[name]
        grid = Grid(layout)
        x = torch.rand(200, layout.input_dim) * 0.6 - 0.3

        def nearest() -> Tensor:
            encoded = grid(x).detach()[:, : 2 * layout.channels].double()
            between = torch.cdist(encoded, encoded) + torch.eye(len(x)) * 1e9
            return (between / (torch.cdist(x.double(), x.double()) + torch.eye(len(x)))).min()

        before = nearest()
        grid.start_linear()
        # Per unit of distance. Two levels with their own axes leave no direction of three-dimensional space unseen.
        assert nearest() > 0.05 > 10 * before

    def test_leaves_finer_levels_alone(self) -> None:
        grid = Grid(GridLayout(2, 2, base=4, finest=32, levels=4))
        before = grid.embeddings.detach().clone()
        grid.start_linear(levels=2)
        second = grid.layout.offsets[2]
        assert_close(grid.embeddings[second:], before[second:], "exact")
        assert (grid.embeddings[:second] - before[:second]).abs().max() > 0.5


class TestConditioning:
    @pytest.mark.parametrize("name", METHODS)
    def test_a_clip_encodes_as_its_frames_do(self, name: str) -> None:
        conditioning, clip = conditioning_of(name), clip_of(name)
        conditioning.start(clip)
        together = conditioning.encode(clip)
        assert together.ndim == 2
        assert_close(together, torch.cat([conditioning.encode(window[None]) for window in clip]), "frames at once")

    @pytest.mark.parametrize("name", METHODS)
    def test_condition_keeps_the_position_and_adds_what_it_says(self, name: str) -> None:
        conditioning, width = conditioning_of(name), methods.get(name).position_grid.features
        features = torch.randn(9, width)
        out = conditioning.condition(features, conditioning.encode(clip_of(name)[:1])[0])
        assert out.features.shape == (9, width + conditioning.extra_features)
        assert_close(out.features[:, :width], features, "exact")
        assert (out.film is None) != (out.ambient is None)
        if out.ambient is not None:
            assert out.ambient.abs().max() <= 1

    @pytest.mark.parametrize("name", METHODS)
    def test_codes_tell_frames_apart_from_the_start(self, name: str) -> None:
        conditioning, clip = conditioning_of(name), clip_of(name)
        conditioning.start(clip)
        codes = conditioning.encode(clip).detach()
        # Far above rounding, which is 1e-8 of codes near 0.1.
        assert torch.pdist(codes).min() > 1e-5

    @pytest.mark.parametrize("name", METHODS)
    def test_the_condition_has_more_effect_after_the_start_than_before(self, name: str) -> None:
        conditioning, clip = conditioning_of(name), clip_of(name)
        features = 0.01 * torch.randn(50, methods.get(name).position_grid.features)

        @torch.no_grad()
        def effect() -> Tensor:
            """Spread over the clip of what the density network sees."""
            seen = [conditioning.condition(features, code) for code in conditioning.encode(clip)]
            films = [(out.features if out.film is None else torch.cat([out.film.scale, out.film.shift])) for out in seen]
            return torch.stack(films).std(0).mean()

        before = effect()
        conditioning.start(clip)
        assert effect() > 3 * before > 0

    @pytest.mark.parametrize("name", [name for name in METHODS if "ambient_grid" in methods.get(name).keys])
    def test_the_ambient_coordinate_enters_linearly_from_the_start(self, name: str) -> None:
        conditioning, width = conditioning_of(name), methods.get(name).position_grid.features
        conditioning.start(clip_of(name))
        out = conditioning.condition(torch.randn(300, width), torch.randn(64))
        assert out.ambient.std(0).min() > 0.01
        coarse = out.features[:, width:][:, :4]
        assert_close(out.ambient @ torch.linalg.lstsq(out.ambient, coarse).solution, coarse, "linear grid")
        assert coarse.std(0).min() > 0.01

    def test_film_starts_with_its_spread_in_every_style(self) -> None:
        conditioning, clip = LandmarkFilm(methods.get("r2talker").trained_grid), clip_of("r2talker")
        before = conditioning.encode(clip).detach().std(0).mean()
        conditioning.start(clip)
        codes = conditioning.encode(clip).detach()
        assert before < 1e-3
        for style in codes.split(128, dim=1):
            assert_close(style.std(0).mean(), START_SPREAD, "spread at the start")

    def test_film_start_survives_a_clip_in_which_nothing_moves(self) -> None:
        conditioning = LandmarkFilm(methods.get("r2talker").trained_grid)
        still = clip_of("r2talker")[:1].expand(CLIP, -1, -1, -1)
        conditioning.start(still)
        assert conditioning.encode(still).isfinite().all()

    @pytest.mark.parametrize("name", METHODS)
    def test_encodes_in_two_steps(self, name: str) -> None:
        conditioning, clip = conditioning_of(name), clip_of(name)
        embedded = conditioning.embed(clip)
        assert embedded.shape[:1] == (CLIP,)
        assert torch.equal(conditioning.code(embedded), conditioning.encode(clip))

    @pytest.mark.parametrize("name", METHODS)
    def test_is_what_the_contract_asks_for(self, name: str) -> None:
        conditioning = conditioning_of(name)
        members = [member for member in vars(Conditioning) if not member.startswith("_")]
        assert {"encode", "start", "condition"} <= set(members)
        assert all(hasattr(conditioning, member) for member in [*members, "extra_features"])


class TestHead:
    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("eye", [True, False])
    def test_takes_the_eye_only_if_told_to(self, name: str, eye: bool) -> None:
        head = Head(HeadConfig(methods.get(name).position_grid, eye=eye, codes=2), conditioning_of(name))
        code = head.contract.encode(clip_of(name)[:1])[0]
        x, d = torch.rand(6, 3) - 0.5, torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
        frame = FrameCode(code, torch.tensor(0.0), head.individual_codes[0])
        shut, open_ = head(x, d, frame), head(x, d, replace(frame, eye=torch.tensor(0.5)))
        assert bool((shut.sigma != open_.sigma).any()) == eye
        assert shut.sigma.shape == (6,)
        assert shut.rgb.shape == (6, 3)
        assert head(x[:0], d[:0], frame).rgb.shape == (0, 3)

    def test_individual_code_changes_colour_but_not_density(self) -> None:
        head = Head(HeadConfig(methods.get("r2talker").position_grid, codes=2), conditioning_of("r2talker"))
        code = head.contract.encode(clip_of("r2talker")[:1])[0]
        x, d = torch.rand(6, 3) - 0.5, torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
        a, b = (head(x, d, FrameCode(code, torch.tensor(0.2), head.individual_codes[row])) for row in (0, 1))
        assert_close(a.sigma, b.sigma, "exact")
        assert (a.rgb != b.rgb).any()


class TestParameterGroups:
    GRID_RATE, NET_RATE = 5e-3, 5e-4

    @pytest.mark.parametrize("name", METHODS)
    def test_cover_every_parameter_once_at_its_rate(self, name: str) -> None:
        method = methods.get(name)
        small = GridLayout(2, 2, base=4, finest=8, levels=2)
        config = ModelConfig(
            HeadConfig(replace(method.position_grid, log2_table=8), codes=3),
            replace(method.condition_grid, log2_table=8),
            TorsoConfig(grid=small, codes=3),
            FEATURE_WIDTH,
        )
        model = TalkingHead(config, method)
        groups = model.head_groups(self.GRID_RATE, self.NET_RATE) + model.torso_groups(self.GRID_RATE, self.NET_RATE)
        rates = [(id(parameter), group.rate) for group in groups for parameter in group.parameters]
        assert len(rates) == len(dict(rates)) == len(list(model.parameters()))
        assert len({group.name for group in groups}) == len(groups)
        for key, parameter in model.named_parameters():
            assert dict(rates)[id(parameter)] == pytest.approx(self.expected(key, method.keys)), key

    def expected(self, key: str, keys: dict[str, str]) -> float:
        """Rates of upstream.md 4.7, and a tenth for our landmark grid."""
        upstream = upstream_name(key, keys)
        if upstream.startswith("encoder_idexp_lm3d"):
            return self.GRID_RATE / 10
        if upstream.endswith("embeddings"):
            return self.GRID_RATE
        return self.NET_RATE * (5 if upstream.startswith("audio_att_net") else 1)


def test_torso_grid_is_the_reference_one() -> None:
    assert torso_grid().rows == 555520
