"""Views of an avatar: kinds of picture, camera, background; the worker that draws them for many."""

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from r2talker.errors import R2TalkerError
from r2talker.live.messages import Look
from r2talker.live.performer import Moved, Performer
from r2talker.live.session import Planned, Session
from r2talker.live.stage import Order, Stage
from r2talker.live.stills import Stills
from r2talker.live.views import Drawer, View, check_look, parse_colour
from r2talker.render.sight import Sight, orbit
from tests.tolerances import assert_close

if TYPE_CHECKING:
    from r2talker.avatar import Avatar

SIDE = 48


@pytest.fixture(scope="module")
def moved(avatar: "Avatar") -> Moved:
    performer = Performer(avatar)
    (planned,) = Session(performer.ahead, 0.0).plan(0.0)
    return performer.perform(planned)


@pytest.fixture(scope="module")
def drawer(avatar: "Avatar") -> Drawer:
    return Drawer(avatar)


def picture(drawer: Drawer, moved: Moved, **look: Any) -> np.ndarray:
    (drawn,) = drawer.draw([moved], View(check_look(drawer.avatar, Look(**look)), SIDE))
    assert drawn.shape == (SIDE, SIDE, 3)
    assert drawn.dtype == np.uint8
    return drawn


def test_the_plain_picture_is_what_rendering_to_a_file_gives(avatar: "Avatar", drawer: Drawer, moved: Moved) -> None:
    from r2talker.drive_plan import DrivePlan

    plan = DrivePlan(moved.window[None], moved.eye[None], moved.c2w[None])
    (batch,) = avatar.render_batches(plan, size=SIDE)
    assert np.array_equal(batch[0], picture(drawer, moved))


def test_one_by_one_is_as_in_batches(drawer: Drawer, moved: Moved) -> None:
    slow = picture(drawer, moved, fov=float(np.degrees(2 * np.arctan(drawer.avatar.info.size / 2 / drawer.avatar.info.focal))))
    assert_close(np.abs(slow.astype(int) - picture(drawer, moved)).max(), 0, "one 8-bit step")


def test_kinds_of_picture(drawer: Drawer, moved: Moved) -> None:
    alpha, depth, normal = (picture(drawer, moved, kind=kind) for kind in ("alpha", "depth", "normal"))
    solid = alpha[..., 0] > 140
    assert 0.05 < solid.mean() < 0.95
    for shown in (alpha, depth):
        assert np.array_equal(shown[..., 0], shown[..., 2])
    assert depth[alpha[..., 0] < 120].max() == 0
    assert depth[solid].std() > 5
    # Most of a face looks at the camera: blue is the direction towards it.
    assert np.median(normal[solid][:, 2]) > 160


def test_backgrounds(drawer: Drawer, moved: Moved) -> None:
    plain = picture(drawer, moved).astype(int)
    green = picture(drawer, moved, background="colour", colour="#00ff00").astype(int)
    assert (green - plain)[..., 1].mean() > 10
    assert (green - plain)[..., 0].mean() < -10
    view = View(Look(background="picture"), SIDE, np.full((9, 9, 3), 20, np.uint8), 1)
    other = replace(view, backdrop=np.full((9, 9, 3), 220, np.uint8), backdrop_number=2)
    dark, light = (drawer.draw([moved], one)[0].astype(int) for one in (view, other))
    assert (light - dark).mean() > 20


def test_controls_change_the_picture(drawer: Drawer, moved: Moved) -> None:
    plain = picture(drawer, moved).astype(int)
    changes: list[dict[str, Any]] = [
        {"yaw": 20.0},
        {"pitch": 15.0},
        {"zoom": 3.0},
        {"pan_x": 0.2},
        {"fov": 40.0},
        {"max_steps": 2},
        {"aabb": [-0.2, -0.5, -1, 1, 0.5, 1]},
        {"landmarks": True},
    ]
    for change in changes:
        assert np.abs(picture(drawer, moved, **change) - plain).max() > 8, change


def test_the_camera_orbits_the_head() -> None:
    c2w = torch.eye(4)
    c2w[:3, :3] = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    c2w[:3, 3] = torch.tensor([0.0, 4.0, 0.0])
    turned = orbit(c2w, Sight(yaw=90))
    assert_close(turned[:3, 3].norm(), 4.0, "rotation")
    assert turned[1, 3].abs() < 1e-5
    # It still looks at the head.
    assert_close(turned[:3, 2], -turned[:3, 3] / 4, "rotation")
    assert_close(orbit(c2w, Sight(zoom=1))[1, 3], 4 / 1.1, "rotation")
    # The picture moves right when panned right: the camera moves left.
    assert ((orbit(c2w, Sight(pan_x=0.5)) - c2w)[:3, 3] @ c2w[:3, 0]) < 0


def torso_mask(drawer: Drawer, moved: Moved, **look: Any) -> np.ndarray:
    """Where the torso covers a background: pictures of a head whose box is empty."""
    nothing = [-1.0, -0.5, -1.0, -0.999, 0.5, 1.0]
    dark, light = (picture(drawer, moved, background="colour", colour=c, aabb=nothing, **look) for c in ("#000000", "#ffffff"))
    return np.asarray((light.astype(int) - dark).mean(-1) < 128)


def test_the_torso_turns_and_grows_with_the_head(drawer: Drawer, moved: Moved) -> None:
    still = torso_mask(drawer, moved)
    assert 0.05 < still.mean() < 0.9
    # Hardly moved, hardly changed: the board is where the picture was.
    assert (torso_mask(drawer, moved, yaw=0.01) != still).mean() < 0.02
    far, turned, behind = (torso_mask(drawer, moved, **look) for look in ({"zoom": -4.0}, {"yaw": 50.0}, {"yaw": 180.0}))
    assert 0 < far.any(0).sum() < 0.85 * still.any(0).sum()
    assert 0 < turned.any(0).sum() < still.any(0).sum()
    assert not behind.any()
    moved_right = torso_mask(drawer, moved, pan_x=0.2)
    assert np.nonzero(moved_right)[1].mean() > np.nonzero(still)[1].mean()


def test_renderings_of_what_does_not_move_accumulate(drawer: Drawer, moved: Moved) -> None:
    """Towards the mean of many; something that moves begins anew; at last nothing is rendered any more."""
    view = View(check_look(drawer.avatar, Look(max_spp=8, kind="alpha", background="colour")), SIDE)
    many = np.mean([drawer.draw_jittered(moved, view, number) for number in range(1, 65)], 0)
    stills = Stills(drawer)
    errors = [float(np.abs(stills.draw("a", moved, view) - many).mean()) for _ in range(8)]
    assert errors[-1] < 0.6 * errors[0]
    last = stills.draw("a", moved, view)
    assert np.array_equal(last, stills.draw("a", moved, view))
    first = drawer.draw([moved], view)[0]
    assert not np.array_equal(last, first)
    assert np.array_equal(stills.draw("b", moved, view), first)
    other = replace(moved, eye=moved.eye + 0.1)
    assert np.array_equal(stills.draw("a", other, view), drawer.draw([other], view)[0])
    turned = replace(view, look=replace(view.look, yaw=5.0))
    assert np.array_equal(stills.draw("a", other, turned), drawer.draw([other], turned)[0])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"size": 4096}, r"look.size must lie between 0 and 1024"),
        ({"size": 65}, "look.size must be even"),
        ({"pose": 10_000}, "look.pose"),
        ({"code": -1}, "look.code"),
        ({"fov": 170.0}, "look.fov"),
        ({"pitch": 91.0}, "look.pitch must lie between -90 and 90, got 91"),
        ({"max_steps": 0}, "look.max_steps"),
        ({"max_spp": 0}, "look.max_spp"),
        ({"aabb": [0.0, 1.0]}, "look.aabb"),
        ({"aabb": [0.5, -1, -1, 0.5, 1, 1]}, "look.aabb"),
        ({"colour": "red"}, "#ffffff"),
    ],
)
def test_looks_that_cannot_be(avatar: "Avatar", change: dict[str, Any], fault: str) -> None:
    with pytest.raises(R2TalkerError, match=fault):
        check_look(avatar, Look(**change))


def test_faces_of_a_clip_whose_sound_is_not_kept(audio_avatar: "Avatar") -> None:
    with pytest.raises(R2TalkerError, match=r"look\.face must be 'spoken'"):
        check_look(audio_avatar, Look(face="clip"))


def test_colours() -> None:
    assert parse_colour("#0180fF") == (1, 128, 255)


class Listener:
    """Orders pictures and remembers what came of them."""

    def __init__(self, name: str, moved: Moved) -> None:
        self.name, self.moved = name, moved
        self.drawn: list[int] = []
        self.missed: list[int] = []
        self.came = threading.Event()

    def order(self, number: int, *, late: bool = False, view: View | None = None) -> Order:
        planned = Planned(number, 0, np.zeros(640, np.int16))
        look = view or View(Look(), SIDE)
        return Order(self.name, planned, self.moved, look, lambda: late, self._deliver, self._miss)

    def _deliver(self, order: Order, picture: np.ndarray) -> None:
        self.drawn.append(order.planned.number)
        self.came.set()

    def _miss(self, order: Order) -> None:
        self.missed.append(order.planned.number)
        self.came.set()


def test_the_stage_draws_the_newest_and_drops_the_rest(avatar: "Avatar", moved: Moved) -> None:
    stage, listeners = Stage(avatar), [Listener(name, moved) for name in "ab"]
    try:
        for number in range(30):
            for listener in listeners:
                stage.submit(listener.order(number))
        deadline = time.monotonic() + 20
        while any(29 not in listener.drawn for listener in listeners) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stage.close()
    for listener in listeners:
        assert listener.drawn[-1] == 29
        assert listener.drawn == sorted(listener.drawn)
        assert sorted(listener.drawn + listener.missed) == list(range(30))
        assert listener.missed


def test_late_and_impossible_orders_are_missed_and_the_stage_goes_on(avatar: "Avatar", moved: Moved) -> None:
    stage, listener = Stage(avatar), Listener("a", moved)
    try:
        stage.submit(listener.order(1, late=True))
        assert listener.came.wait(10)
        listener.came.clear()
        stage.submit(listener.order(2, view=View(Look(code=10**6, kind="alpha"), SIDE)))
        assert listener.came.wait(10)
        assert stage.error is not None
        listener.came.clear()
        stage.submit(listener.order(3))
        assert listener.came.wait(10)
    finally:
        stage.close()
    assert (listener.missed, listener.drawn) == ([1, 2], [3])
    assert not [thread for thread in threading.enumerate() if thread.name == "r2talker-stage"]


@pytest.mark.gpu
def test_a_gpu_draws_what_a_cpu_draws(avatar: "Avatar", trained: Any) -> None:
    """Performed on the CPU, drawn on the GPU, the views that are no plain picture too."""
    from r2talker.avatar import Avatar
    from r2talker.live.performer import on_cpu

    other = Avatar.load(trained("r2talker"), device="cuda")
    performer = Performer(on_cpu(other))
    (planned,) = Session(performer.ahead, 0.0).plan(0.0)
    moved = performer.perform(planned)
    for look in (Look(), Look(kind="depth"), Look(kind="normal"), Look(yaw=10.0, landmarks=True), Look(code=1)):
        (one,), (two,) = (Drawer(each).draw([moved], View(look, SIDE)) for each in (avatar, other))
        assert_close(np.abs(one.astype(int) - two).mean(), 0, "one 8-bit step")
