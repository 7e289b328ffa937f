"""What all methods share: the head field, the torso field, the occupancy grids and the conditioning contract."""
