"""Readings of an avatar against the truth."""
