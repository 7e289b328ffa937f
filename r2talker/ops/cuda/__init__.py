"""What all CUDA kernels share: run-time compilation, launching, and device code (`*.cuh`) that kernels are put together from."""
