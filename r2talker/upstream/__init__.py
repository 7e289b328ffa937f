"""Checkpoints of the reference implementations become avatars, and avatars checkpoints (docs/from-upstream.md)."""
