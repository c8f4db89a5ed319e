"""CPU kernels of the functional core, compiled by numba."""
