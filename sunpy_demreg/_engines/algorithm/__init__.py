"""The inversion of one pixel: one backend-neutral algorithm, executed by NumPy, LLVM or CUDA."""
