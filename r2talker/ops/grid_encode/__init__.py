"""Multi-resolution grid encoding (upstream.md 3.1; Mueller et al. 2022, "Instant Neural Graphics Primitives")."""
