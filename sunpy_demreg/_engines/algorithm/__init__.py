"""The inversion of one pixel: one backend-neutral text, executed by NumPy, LLVM or CUDA."""
