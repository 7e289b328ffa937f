"""Adam with everything around it in one pass: decaying rate, cleared gradients, half-precision copies."""
