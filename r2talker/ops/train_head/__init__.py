"""One training step of the head in fused passes: drawn rays, forward, loss, backward into tables and networks (upstream.md 5.3, 5.4, 6.2)."""
