"""Whole pictures of the head in one fused pass: rays, marching, encodings, networks, compositing (upstream.md 4, 5)."""
