"""What goes into an inversion and comes out of it, and what its text is written in."""
