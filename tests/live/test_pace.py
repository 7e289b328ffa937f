"""Resolution follows the load, on a simulated machine."""

from r2talker.live.pace import Pace, sides


def settle(pace: Pace, cost: float, sessions: int = 1, seconds: float = 20.0, start: float = 0.0) -> tuple[int, list[int]]:
    """Draw for a while on a machine that needs `cost` seconds per pixel and 2 ms per picture; returns last side and all of them."""
    now, seen = start, []
    while now < start + seconds:
        side = pace.choose(sessions, now)
        pace.note(side, 0.002 + cost * side * side)
        now += 0.04
        seen.append(side)
    return seen[-1], seen


def test_a_fast_machine_draws_the_full_size() -> None:
    assert settle(Pace(sides(512), 512), 1e-9)[0] == 512


def test_a_slow_machine_finds_the_largest_that_keeps_up_and_stays() -> None:
    cost = 0.03 / 256**2
    side, seen = settle(Pace(sides(512), 512), cost)
    assert 0.002 + cost * side * side <= 0.8 * 0.04
    assert side >= 192
    assert len(set(seen[250:])) == 1


def test_a_machine_that_is_too_slow_draws_the_smallest() -> None:
    assert settle(Pace(sides(512), 512), 1.0)[0] == 64


def test_sessions_share_the_machine_and_it_recovers() -> None:
    pace = Pace(sides(512), 512)
    cost = 0.02 / 512**2
    assert settle(pace, cost)[0] == 512
    shared = settle(pace, cost, sessions=5, start=20)[0]
    assert shared < 256
    assert settle(pace, cost, start=40)[0] == 512


def test_sides_are_even_and_hold_that_of_training() -> None:
    assert sides(128) == [64, 96, 128, 160, 192, 256]
    assert 300 in sides(300)
    assert 301 not in sides(301)
