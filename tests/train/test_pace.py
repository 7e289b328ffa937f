"""Training to the clock, with a clock that the test turns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from r2talker.train.pace import Pace, Stopwatch, phase_ends

BUDGET = 60.0


@dataclass
class Machine:
    """Takes `speed(step)` seconds for a step, and shows what a phase did with its learning rate."""

    speed: Callable[[int], float]
    time: float = 1000.0
    reads: int = 20
    shares: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def work(self, pace: Pace, steps: int, done: int = 0, least: float = 0.0) -> int:
        """The loop of a phase that was thought to have `steps`; returns the steps it had. Stops early after `least` seconds, if given."""
        begun = self.time
        while done < steps:
            self.shares.append(done / steps)
            self.time += self.speed(done)
            done += 1
            if (done - 1) % self.reads == 0 or done == steps or pace.is_over():
                steps = pace.foresee(done) or steps
            if least and self.time - begun > least:
                return done
        return done


SPEEDS: dict[str, Callable[[int], float]] = {
    "even": lambda step: 0.05,
    "compiling first": lambda step: 6.0 if step == 0 else 0.03,
    "faster and faster": lambda step: 0.004 + 0.02 * 0.998**step,
    "slower and slower": lambda step: 0.02 + 0.00002 * step,
    "slow": lambda step: 1.0,
    "slower than all the time there is": lambda step: 2 * BUDGET,
    "disturbed": lambda step: 0.09 if 300 < step < 600 else 0.03,
    "a GPU": lambda step: 0.0009,
}


@pytest.mark.parametrize("name", SPEEDS)
def test_a_phase_ends_in_time_and_so_does_its_schedule(name: str) -> None:
    machine = Machine(SPEEDS[name], reads=200 if name == "a GPU" else 20)
    stopwatch = Stopwatch(now=machine.now)
    begun = machine.time
    done = machine.work(Pace(stopwatch, BUDGET), 6000)
    longest = machine.speed(done - 1)
    assert abs(machine.time - begun - BUDGET) <= max(0.02 * BUDGET, longest)
    if longest < 0.5:
        assert machine.shares[-1] > 0.98
        # What is foreseen settles: from the middle on the schedule hardly jumps, back or forth.
        late = machine.shares[len(machine.shares) // 2 :]
        assert max(abs(after - before) for before, after in pairwise(late)) < 0.05


def test_a_phase_that_goes_on_has_the_time_that_is_left() -> None:
    machine = Machine(SPEEDS["even"])
    done = machine.work(Pace(Stopwatch(now=machine.now), BUDGET), 6000, least=24.0)
    # A day later, from a checkpoint of 20 seconds.
    machine.time += 86400.0
    begun = machine.time
    machine.work(Pace(Stopwatch(20.0, machine.now), BUDGET), 1200, done)
    assert machine.time - begun == pytest.approx(40.0, abs=0.02 * BUDGET)


def test_a_phase_without_time_takes_one_step() -> None:
    machine = Machine(SPEEDS["even"])
    assert machine.work(Pace(Stopwatch(100.0, machine.now), BUDGET), 6000) == 1


def test_a_phase_with_time_to_spare_ends_at_its_steps() -> None:
    machine = Machine(SPEEDS["a GPU"], reads=200)
    begun = machine.time
    assert machine.work(Pace(Stopwatch(now=machine.now), BUDGET, most=12000), 12000) == 12000
    assert machine.time - begun == pytest.approx(12000 * 0.0009)
    assert machine.shares == pytest.approx([step / 12000 for step in range(12000)])
    slow = Machine(SPEEDS["even"])
    assert slow.work(Pace(Stopwatch(now=slow.now), BUDGET, most=12000), 12000) == pytest.approx(BUDGET / 0.05, rel=0.02)
    # A run that has gone further already does not go back.
    late = Machine(SPEEDS["even"])
    assert Pace(Stopwatch(now=late.now), BUDGET, most=10).foresee(20) is None
    late.time += 1
    pace = Pace(Stopwatch(now=late.now), BUDGET, most=10)
    pace.foresee(20)
    late.time += 1
    assert pace.foresee(40) == 40


def test_phases_share_the_time() -> None:
    assert phase_ends([4, 1], 10, 60) == [50, 60]
    assert phase_ends([1, 1, 2], 0, 8) == [2, 4, 8]


def test_the_stopwatch_counts_over_runs() -> None:
    machine = Machine(SPEEDS["even"])
    stopwatch = Stopwatch(12.0, machine.now)
    machine.time += 3
    assert stopwatch.seconds() == 15.0
