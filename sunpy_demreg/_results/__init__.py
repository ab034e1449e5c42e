"""Plain arrays become cubes here, and what is made of such a result."""
