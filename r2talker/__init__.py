"""Talking-head avatars from a video: R2-Talker, RAD-NeRF and GeneFace+instant-ngp in plain Python.

Importing this package is cheap: everything that needs torch is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Avatar", "R2TalkerError", "__version__"]

if TYPE_CHECKING:
    from r2talker.avatar import Avatar
    from r2talker.errors import R2TalkerError


def __getattr__(name: str) -> Any:
    if name == "Avatar":
        from r2talker.avatar import Avatar

        return Avatar
    if name == "R2TalkerError":
        from r2talker.errors import R2TalkerError

        return R2TalkerError
    raise AttributeError(f"module 'r2talker' has no attribute {name!r}")
