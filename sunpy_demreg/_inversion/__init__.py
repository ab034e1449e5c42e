"""The inversion itself: arguments, blocks of pixels, and the drop-in for arrays."""
