"""The inversion: arguments, blocks of pixels, and the drop-in function for plain arrays."""
