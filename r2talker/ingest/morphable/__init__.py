"""Head tracking by the Basel face model, for people who own it (upstream.md 8.1 and 8.2)."""
