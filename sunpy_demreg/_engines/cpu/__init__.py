"""The engine that LLVM compiles for the processor."""
