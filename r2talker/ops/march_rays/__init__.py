"""Steps along rays through occupied cells (upstream.md 5.2, 5.3)."""
