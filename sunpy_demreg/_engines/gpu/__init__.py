"""The engine that CUDA compiles for a GPU."""
