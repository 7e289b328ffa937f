"""RGB bytes as the planes that a video encoder takes."""
