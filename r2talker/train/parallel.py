"""Several processes that train one avatar together, as `torchrun` starts them: who they are and what they exchange.

Every process holds all weights and looks at other frames of the same step; gradients are summed over the processes before the
optimiser takes them, so weights, moments and averages stay equal without being sent. Only the leader writes anything.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.train.checkpoint import load_stepper

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from r2talker.train.phase import Phase

JOINING = timedelta(minutes=5)
"""How long a process waits at the start for the others."""
WAITING = timedelta(minutes=30)
"""How long a process waits in a step for the others, such as for a leader that writes a checkpoint to a slow disk."""
SEED_STRIDE = 0x9E3779B9
"""Between the seeds of neighbouring ranks, so that kernels that count their draws alike draw other rays in each process."""
_SPOKEN, _HERE, _DONE = "r2talker failure", "r2talker here", "r2talker done"


@dataclass(frozen=True)
class Team:
    """The processes of one run. rank: this one's number below `size`; the leader's is 0. store: where they leave each other notes.

    R2TalkerError from any exchange when another process is gone.
    """

    rank: int = 0
    size: int = 1
    store: "Store | None" = field(default=None, compare=False, repr=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes checkpoints, previews, curves and the avatar."""
        return self.rank == 0

    def frames(self, asked: int | None, usual: int) -> int:
        """Frames per step: as asked, else the least multiple of the processes that is not below `usual`.

        Raises R2TalkerError when the frames asked for cannot be shared out evenly.
        """
        if asked is None:
            return -(-usual // self.size) * self.size
        if asked % self.size:
            raise R2TalkerError(
                f"--frames-per-step must be a multiple of the {self.size} processes, which share the frames, got {asked}"
            )
        return asked

    def places(self, frames: int) -> range:
        """Which of the `frames` of a step this process looks at."""
        return range(self.rank, frames, self.size)

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all processes, equal to the last bit in each of them."""
        if self.size > 1:
            self._exchange(lambda: dist.all_reduce(tensor))

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors by the leader's."""
        if self.size > 1:
            for tensor in tensors:
                self._exchange(lambda tensor=tensor: dist.broadcast(tensor, 0))  # type: ignore[misc]

    def decide(self, answer: Callable[[], bool]) -> bool:
        """The leader's answer, in every process; the others do not ask. Nobody goes on before the leader has answered."""
        if self.size == 1:
            return answer()
        said: list[Any] = [answer() if self.leads else None]
        self._exchange(lambda: dist.broadcast_object_list(said, 0))
        return bool(said[0])

    def part(self) -> None:
        """Wait for the others and let go of them: whatever comes after is the leader's alone."""
        if self.size > 1 and dist.is_initialized():
            # Not by `dist.barrier`: who leaves it first closes connections that others may still read their last sum from.
            self._exchange(self._await_others)
            dist.destroy_process_group()

    def _await_others(self) -> None:
        if self.store is None:
            return
        if dist.get_backend() == "nccl":
            torch.cuda.synchronize()
        self.store.set(f"{_DONE} {self.rank}", "yes")
        # A leader may keep the store itself, and be gone with it as soon as it has seen everybody.
        with contextlib.suppress(*() if self.leads else (RuntimeError,)):
            self.store.wait([f"{_DONE} {rank}" for rank in range(self.size)], WAITING)

    def _exchange(self, work: Callable[[], object]) -> None:
        try:
            work()
        except RuntimeError as error:
            raise R2TalkerError(
                f"process {self.rank + 1} of {self.size} lost the others ({_first_line(error)}); the same command goes on from "
                "the last checkpoint"
            ) from error


ALONE = Team()


@contextlib.contextmanager
def joined_team(device: str, *, joining: timedelta = JOINING, waiting: timedelta = WAITING) -> Iterator[Team]:
    """The team that this process belongs to while the block runs: ALONE unless `torchrun` says otherwise.

    device: as for `choose_device`; with CUDA every process takes the GPU of its number on the machine and they talk through
    NCCL, else through Gloo. When something fails, one process of all says so: in the others the error ends as SystemExit with
    the same code. Raises R2TalkerError when the others cannot be met, or a machine has fewer GPUs than processes.
    """
    place = read_place(os.environ)
    if place is None:
        yield ALONE
        return
    _own_device(device, place)
    store = _meet(place, joining)
    try:
        team = _form(place, store, device, waiting)
        yield team
        team.part()
    except BaseException as error:
        first = _first_to_fail(store)
        # NCCL might wait here for an exchange that will never be; the end of the process lets go of it.
        if dist.is_initialized() and dist.get_backend() == "gloo":
            dist.destroy_process_group()
        if first or not isinstance(error, R2TalkerError | KeyboardInterrupt):
            raise
        raise SystemExit(2 if isinstance(error, R2TalkerError) else 128 + signal.SIGINT) from None


@dataclass(frozen=True)
class Place:
    """What `torchrun` tells a process: its rank of `size`, its number on its machine, where all meet."""

    rank: int
    size: int
    local: int
    address: str


def read_place(environment: Mapping[str, str]) -> Place | None:
    """The place that the variables of `torchrun` describe; None without them, or for a single process.

    Raises R2TalkerError when they are incomplete or make no sense.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    absent = [name for name in names if not environment.get(name)]
    if absent:
        raise R2TalkerError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {', '.join(absent)} is not set; start several processes by torchrun, "
            "or unset WORLD_SIZE"
        )
    try:
        rank, size, local, port = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))
    except ValueError:
        rank = size = local = port = -1
    if not (0 <= rank < size and local >= 0 and 0 <= port < 1 << 16):
        said = ", ".join(f"{name}={environment[name]}" for name in names)
        raise R2TalkerError(f"these describe no process of a team: {said}; start several processes by torchrun")
    return Place(rank, size, local, f"{environment['MASTER_ADDR']}:{port}")


def _own_device(device: str, place: Place) -> None:
    """Make this process's GPU the one that `cuda` means."""
    if choose_device(device).type != "cuda":
        return
    present = torch.cuda.device_count()
    if place.local >= present:
        raise R2TalkerError(
            f"process {place.local + 1} of this machine has no GPU of its own: torch sees {present}; start at most so many processes "
            "per machine, or train with --device cpu"
        )
    torch.cuda.set_device(place.local)


def _meet(place: Place, joining: timedelta) -> "Store":
    if not dist.is_available():
        raise R2TalkerError("this build of PyTorch has no torch.distributed; train in a single process")
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=joining)))
        # Everybody must be there before anything is done: nobody should train towards a process that never came.
        store.set(f"{_HERE} {place.rank}", "yes")
        store.wait([f"{_HERE} {rank}" for rank in range(place.size)], joining)
    except (RuntimeError, ValueError) as error:
        raise R2TalkerError(
            f"process {place.rank + 1} of {place.size} met no others at {place.address} ({_first_line(error)}); "
            "see that torchrun starts all of them and that they reach that address"
        ) from error
    return store


def _form(place: Place, store: "Store", device: str, waiting: timedelta) -> Team:
    gpu = choose_device(device).type == "cuda"
    if gpu and not dist.is_nccl_available():
        raise R2TalkerError("several GPUs talk through NCCL, which this build of PyTorch lacks; train on one GPU")
    try:
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.size,
            timeout=waiting,
            device_id=torch.device("cuda", place.local) if gpu else None,
        )
    except RuntimeError as error:
        raise R2TalkerError(
            f"process {place.rank + 1} of {place.size} cannot talk to the others ({_first_line(error)})"
        ) from error
    return Team(place.rank, place.size, store)


def _first_to_fail(store: "Store") -> bool:
    """Whether this process is the first to fail; True too when nobody can be asked."""
    try:
        return store.add(_SPOKEN, 1) == 1
    except RuntimeError:
        return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def follow_phase(phase: "Phase", checkpoint: Path, start: int) -> None:
    """What `run_phase` is to the others: the steps from `start` alone; leaves the same weights in the model."""
    stepper = phase.stepper()
    if start:
        stepper.restore(load_stepper(checkpoint))
    for step in range(start, phase.steps):
        stepper.take(step)
    stepper.publish()
    stepper.finish()
