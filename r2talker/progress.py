"""How long work tells what it is doing, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of a long job in order; the command line draws them, tests record them."""

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        """Start the step `name` of `total` units, `done` of which an earlier run finished."""

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """`done` units of the current step are finished; `note` is a short reading such as `loss 0.012`; `total` what the step is now
        thought to have, where that changes."""

    def end(self, message: str) -> None:
        """The current step is finished and made what `message` says."""


class Silent:
    """Listens to nothing."""

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        pass

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        pass

    def end(self, message: str) -> None:
        pass
