"""The engine whose code LLVM compiles for the processor at hand."""
