"""The torso over the plate for whole pictures (upstream.md 4.5, 5.6)."""
