"""One file per way of conditioning the head; dropping a file with a `METHOD` in this folder adds a method everywhere."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from r2talker.errors import R2TalkerError

if TYPE_CHECKING:
    from r2talker.model.method import Method

DEFAULT = "r2talker"
"""The method used when nobody says."""


@cache
def available() -> tuple[str, ...]:
    """Names of the methods, sorted; loads none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str) -> "Method":
    """The method called `name`; R2TalkerError lists the available ones."""
    if name not in available():
        raise R2TalkerError(f"there is no method {name!r}; choose one of {', '.join(available())}")
    return import_module(f"{__name__}.{name}").METHOD
