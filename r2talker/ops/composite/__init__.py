"""Weighing the samples of rays into pixels (upstream.md 5.4, 5.5)."""
