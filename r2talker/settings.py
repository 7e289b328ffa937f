"""Answers to settings that make no sense, before anything is done with them."""

from r2talker.errors import R2TalkerError


def require_at_least(settings: object, **least: float) -> None:
    """R2TalkerError when a field of `settings` lies below its bound or is not a number; None stands for a default and passes."""
    for name, bound in least.items():
        value = getattr(settings, name)
        # Written so that NaN does not pass.
        if value is not None and not value >= bound:
            raise R2TalkerError(f"--{name.replace('_', '-')} must be at least {bound:g}, got {value:g}")
