"""Exponential with a bounded gradient."""
