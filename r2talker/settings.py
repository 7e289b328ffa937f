"""Answers to settings that make no sense, before anything is done with them."""

import re

from r2talker.errors import R2TalkerError

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?=.)(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def require_at_least(settings: object, **least: float) -> None:
    """R2TalkerError when a field of `settings` lies below its bound or is not a number; None stands for a default and passes."""
    for name, bound in least.items():
        value = getattr(settings, name)
        # Written so that NaN does not pass.
        if value is not None and not value >= bound:
            raise R2TalkerError(f"--{name.replace('_', '-')} must be at least {bound:g}, got {value:g}")


def parse_duration(name: str, text: str) -> float:
    """Seconds of a duration such as 90s, 5m, 2m30s or 1h, given as option `name`; R2TalkerError for anything else."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise R2TalkerError(f"--{name} must be a duration such as 90s, 5m, 2m30s or 1h, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
