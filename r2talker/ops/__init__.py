"""Arithmetic that must be fast, one folder per operation.

Each folder holds `op.py` (the public door), `reference.py` (plain PyTorch, differentiable, float64-capable, written to be
obviously right) and, where it pays, a fast form in a file named after its technique. An explicit `impl` that cannot run
raises; nothing moves tensors between devices.
"""
