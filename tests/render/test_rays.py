"""Rendering rays: pictures against training, what shows where nothing is hit, extremes, gradients, chunks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from r2talker.model.head import FrameCode, Radiance
from r2talker.model.occupancy import OccupancyGrid
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.occupancy.op import pack_bits
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.ops.trunc_exp.op import trunc_exp
from r2talker.render.config import RenderSettings
from r2talker.render.frame import blend_torso, render_frame
from r2talker.render.rays import TracedRays, render_rays, trace_rays
from r2talker.types import Camera, Rays
from tests.golden.models import NAMES, golden_camera, golden_frame, golden_model, golden_rays
from tests.golden.regenerate import background
from tests.tolerances import assert_close

SETTINGS = RenderSettings()
CODE = FrameCode(torch.zeros(1), torch.zeros(()), torch.zeros(4))
RADIUS = 0.3
FORMS = {"pictures": render_rays, "training": trace_rays}


class Ball(nn.Module):
    """Stands in for a head: a ball of one density around the origin, coloured by position."""

    def __init__(self, log_sigma: float = 4.0) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(log_sigma))
        self.colour = nn.Parameter(torch.tensor([0.2, 0.5, 0.8]))

    def forward(self, positions: Tensor, directions: Tensor, frame: FrameCode) -> Radiance:
        inside = positions.norm(dim=1) < RADIUS
        sigma = trunc_exp(self.log_sigma.expand(len(positions)))
        return Radiance(torch.where(inside, sigma, 0.0), self.colour + 0.2 * positions.clamp(-1, 1), None)


def grid_of(occupied: Tensor) -> OccupancyGrid:
    grid = OccupancyGrid()
    grid.bitfield.copy_(pack_bits(occupied.float()[None], 0.5))
    return grid


@pytest.fixture(scope="module")
def around() -> OccupancyGrid:
    """Occupied a little wider than the ball."""
    return grid_of(OccupancyGrid().centres().norm(dim=1) < RADIUS + 0.05)


@pytest.fixture(scope="module")
def empty() -> OccupancyGrid:
    return grid_of(torch.zeros(128**3))


def view(size: int = 48, focal: float = 1.0) -> Camera:
    """In front of the ball, far enough to see the whole box."""
    c2w = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 3], [1, 0, 0, 0], [0, 0, 0, 1]])
    return Camera(c2w, focal * size, focal * size, size / 2, size / 2, size, size)


def rays() -> Rays:
    """Wide enough for the corners of the picture to miss the box."""
    return generate_rays(view())


def plate(count: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def fields(traced: TracedRays) -> dict[str, Tensor]:
    return {name: getattr(traced, name) for name in ("rgb", "opacity", "depth", "ambient")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_steps", [1, 5, 16, 40])
def test_pictures_equal_training(name: str, max_steps: int) -> None:
    model, frame = golden_model(name), golden_frame(name)
    some = Rays(golden_rays().origins[::9], golden_rays().directions[::9])
    behind, settings = torch.from_numpy(background()[::9]), replace(SETTINGS, max_steps=max_steps)
    with torch.no_grad():
        training = trace_rays(model.head, model.occupancy, some, frame, behind, settings)
    pictures = render_rays(model.head, model.occupancy, some, frame, behind, settings)
    assert_close(pictures.rgb, training.rgb, "early stop")
    assert_close(pictures.opacity, training.opacity, "early stop")
    assert_close(pictures.depth, training.depth, "early stop, depth")
    assert training.opacity.max() > (0.1 if max_steps == 1 else 0.6)


@pytest.mark.parametrize("max_steps", [1, 16, 40])
def test_machine_code_equals_rounds(max_steps: int) -> None:
    model, frame = golden_model("r2talker"), golden_frame("r2talker")
    given = (model.head, model.occupancy, golden_rays(), frame, torch.from_numpy(background()).reshape(-1, 3))
    settings = replace(SETTINGS, max_steps=max_steps)
    fast, slow = (render_rays(*given, settings, impl=impl) for impl in ("compiled", "rounds"))
    assert slow.opacity.max() > 0.5
    for name in ("rgb", "opacity"):
        assert_close(getattr(fast, name), getattr(slow, name), "rays apart")
    assert_close(fast.depth, slow.depth, "early stop, depth")


def test_what_is_no_network_is_refused_by_machine_code(around: OccupancyGrid) -> None:
    model, frame = golden_model("radnerf"), golden_frame("radnerf")
    with pytest.raises(ValueError, match="no ambient coordinate"):
        render_rays(model.head, around, golden_rays(), frame, torch.zeros(1, 3), SETTINGS, impl="compiled")


@pytest.mark.parametrize("form", FORMS)
def test_a_ball_before_a_background(form: str, around: OccupancyGrid) -> None:
    """Rays through the ball see its colour at its distance, the others the background and nothing of the ball."""
    batch = rays()
    behind = plate(len(batch.origins))
    traced = FORMS[form](Ball(), around, batch, CODE, behind, SETTINGS)
    along = -(batch.origins * batch.directions).sum(1)
    nearest = (batch.origins + along[:, None] * batch.directions).norm(dim=1)
    through, past = nearest < 0.15, nearest > RADIUS
    assert through.sum() > 10
    assert past.sum() > 10
    assert_close(traced.rgb[past], behind[past], "exact")
    assert (traced.opacity[past] == 0).all()
    assert (traced.depth[past] == 0).all()
    assert (traced.ambient == 0).all()
    assert_close(traced.opacity[through], torch.ones(int(through.sum())), "early stop")
    entry = along - (RADIUS**2 - nearest**2).clamp_min(0).sqrt()
    span = intersect_aabb(batch.origins, batch.directions, SETTINGS.aabb, min_near=SETTINGS.min_near)
    hit = (batch.origins + entry[:, None] * batch.directions)[through]
    # The first sample lies up to one step of 0.027 behind the surface, and light gets 1 / e^4 = 0.018 further.
    assert (traced.rgb[through] - (torch.tensor([0.2, 0.5, 0.8]) + 0.2 * hit)).abs().max() < 0.2 * 0.06
    reached = (span.near + traced.depth * (span.far - span.near))[through]
    assert ((reached - entry[through] > 0) & (reached - entry[through] < 0.1)).all()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_occupied_is_the_background(form: str, empty: OccupancyGrid) -> None:
    batch = rays()
    behind = plate(len(batch.origins))
    traced = FORMS[form](Ball(), empty, batch, CODE, behind, SETTINGS)
    assert_close(traced.rgb, behind, "exact")
    assert all((values == 0).all() for name, values in fields(traced).items() if name != "rgb")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("log_sigma", [-40.0, 0.0, 4.0, 80.0, 1000.0])
def test_everything_stays_within_bounds(form: str, log_sigma: float, around: OccupancyGrid) -> None:
    """From next to nothing to infinite density; also along the axes, and from rays that miss the box."""
    batch = rays()
    away = Rays(batch.origins, -batch.directions)
    for one in (batch, away):
        traced = FORMS[form](Ball(log_sigma), around, one, CODE, plate(len(one.origins)), SETTINGS)
        assert all(values.isfinite().all() for values in fields(traced).values())
        assert traced.rgb.min() >= 0
        assert traced.rgb.max() <= 1
        assert traced.opacity.min() >= 0
        assert_close(traced.opacity.clamp(max=1), traced.opacity, "whole")
        assert traced.depth.min() >= 0
        assert_close(traced.depth.clamp(max=1), traced.depth, "whole")
        span = intersect_aabb(one.origins, one.directions, SETTINGS.aabb, min_near=SETTINGS.min_near)
        assert one is away or (span.near > span.near.min() + 100).any(), "some rays should miss the box"
        if one is away:
            assert (traced.opacity == 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("colour", [-1.0, 3.0])
def test_colours_are_clamped(form: str, colour: float, around: OccupancyGrid) -> None:
    ball, batch = Ball(), rays()
    nn.init.constant_(ball.colour, colour)
    traced = FORMS[form](ball, around, batch, CODE, plate(len(batch.origins)), SETTINGS)
    assert_close(traced.rgb.clamp(0, 1), traced.rgb, "exact")
    assert (traced.rgb == min(max(colour, 0), 1)).all(1).sum() > 10


@pytest.mark.parametrize("form", FORMS)
def test_rays_from_inside_the_head(form: str, around: OccupancyGrid) -> None:
    directions = nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    batch = Rays(torch.zeros(50, 3), directions)
    traced = FORMS[form](Ball(), around, batch, CODE, plate(50), SETTINGS)
    assert_close(traced.opacity, torch.ones(50), "early stop")
    assert traced.depth.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_no_rays(form: str, around: OccupancyGrid) -> None:
    nothing = Rays(torch.zeros(0, 3), torch.zeros(0, 3))
    traced = FORMS[form](Ball(), around, nothing, CODE, torch.zeros(0, 3), SETTINGS)
    assert traced.rgb.shape == (0, 3)
    assert traced.opacity.shape == (0,)


@pytest.mark.parametrize("log_sigma", [-40.0, 3.0, 80.0])
def test_gradients_are_finite(log_sigma: float, around: OccupancyGrid) -> None:
    ball, batch = Ball(log_sigma), rays()
    traced = trace_rays(ball, around, batch, CODE, plate(len(batch.origins)), SETTINGS, noise=torch.rand(len(batch.origins)))
    (traced.rgb.square().sum() + traced.opacity.sum()).backward()
    assert ball.log_sigma.grad.isfinite()
    assert ball.colour.grad.isfinite().all()
    if log_sigma == 3.0:
        assert ball.log_sigma.grad != 0
        assert (ball.colour.grad > 0).all()


def test_gradient_is_the_slope(around: OccupancyGrid) -> None:
    batch = rays()
    behind = plate(len(batch.origins))

    def loss(log_sigma: float) -> tuple[Tensor, Ball]:
        ball = Ball(log_sigma)
        return trace_rays(ball, around, batch, CODE, behind, SETTINGS).rgb.double().square().sum(), ball

    middle, ball = loss(1.0)
    middle.backward()
    slope = (loss(1.01)[0] - loss(0.99)[0]) / 0.02
    assert slope.item() == pytest.approx(ball.log_sigma.grad.item(), rel=0.01)


def test_noise_shifts_the_samples_by_less_than_a_step(around: OccupancyGrid) -> None:
    batch = rays()
    behind = plate(len(batch.origins))
    still, *shifted = (
        trace_rays(Ball(8.0), around, batch, CODE, behind, SETTINGS, noise=torch.full((len(behind),), noise))
        for noise in (0.0, 0.3, 0.7)
    )
    plain = trace_rays(Ball(8.0), around, batch, CODE, behind, SETTINGS)
    assert_close(plain.rgb, still.rgb, "exact")
    span = intersect_aabb(batch.origins, batch.directions, SETTINGS.aabb, min_near=SETTINGS.min_near)
    solid = still.opacity > 0.99
    for other in shifted:
        both = solid & (other.opacity > 0.99)
        moved = ((other.depth - still.depth) * (span.far - span.near))[both]
        assert 0.005 < moved.abs().max() < 0.028


@pytest.mark.parametrize("form", FORMS)
def test_rays_do_not_care_which_others_are_rendered_with_them(form: str) -> None:
    model, frame = golden_model("r2talker"), golden_frame("r2talker")
    chosen = torch.arange(0, 4096, 23)
    batch = Rays(golden_rays().origins[chosen], golden_rays().directions[chosen])
    behind = torch.from_numpy(background())[chosen]

    @torch.no_grad()
    def render(part: Tensor) -> TracedRays:
        some = Rays(batch.origins[part], batch.directions[part])
        return FORMS[form](model.head, model.occupancy, some, frame, behind[part], SETTINGS)

    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(2))
    whole, shuffled = render(torch.arange(len(chosen))), render(order)
    assert whole.opacity.max() > 0.9
    alone = [render(part) for part in torch.arange(len(chosen)).split(50)] + [render(torch.tensor([60]))]
    for name, values in fields(whole).items():
        assert_close(getattr(shuffled, name), values[order], "rays apart")
        parts = torch.cat([getattr(part, name) for part in alone[:-1]])
        assert_close(parts, values, "rays apart")
        assert_close(getattr(alone[-1], name), values[60:61], "rays apart")


class TestFrame:
    def test_a_picture_is_its_rays(self) -> None:
        model, frame, camera = golden_model("r2talker"), golden_frame("r2talker"), golden_camera().resized(16, 16)
        behind = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))
        picture = render_frame(model, camera, frame, behind, SETTINGS)
        plain = blend_torso(model, camera, behind, SETTINGS)
        traced = render_rays(model.head, model.occupancy, generate_rays(camera), frame, plain.reshape(-1, 3), SETTINGS)
        assert_close(picture.rgb.reshape(-1, 3), traced.rgb, "exact")
        assert_close(picture.alpha.flatten(), traced.opacity, "exact")
        assert_close(picture.depth.flatten(), traced.depth, "exact")
        assert (plain != behind).any()

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 4)])
    def test_odd_sizes(self, height: int, width: int) -> None:
        model, frame = golden_model("r2talker"), golden_frame("r2talker")
        behind = torch.rand(height, width, 3)
        picture = render_frame(model, golden_camera().resized(height, width), frame, behind, SETTINGS)
        assert picture.rgb.shape == (height, width, 3)
        assert picture.alpha.shape == picture.depth.shape == (height, width)
        assert picture.rgb.isfinite().all()
        assert picture.rgb.min() >= 0
        assert picture.rgb.max() <= 1
        # The middle of the view looks into the head.
        assert picture.alpha[height // 2, width // 2] > 0.5

    def test_torso_shows_only_where_it_is_occupied(self) -> None:
        model, camera = golden_model("r2talker"), golden_camera()
        behind = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
        blended = blend_torso(model, camera, behind, SETTINGS)
        # The vectors' torso is occupied in the right part: where the second coordinate is large.
        changed = (blended != behind).any(-1)
        assert changed.any(0).tolist() == changed.all(0).tolist()
        columns = torch.nonzero(changed.all(0)).flatten()
        assert columns.tolist() == list(range(64 - len(columns), 64))
        assert changed.sum() == 1856
        assert blended.min() >= 0
        assert blended.max() <= 1
