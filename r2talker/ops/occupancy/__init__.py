"""The occupancy grid: Morton order, bits, dilation, cell centres (upstream.md 5.7, 5.8)."""
