"""Real spherical harmonics of directions."""
