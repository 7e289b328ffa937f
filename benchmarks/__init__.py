"""How fast the package is, measured; not part of the wheel. `docs/performance.md` says how to run it."""
