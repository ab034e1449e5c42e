"""The engine whose code CUDA compiles for a GPU."""
