"""Cameras: rays of pixels, poses in the two conventions, picture coordinates."""
