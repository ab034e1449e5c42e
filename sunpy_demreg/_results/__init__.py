"""Results: plain arrays wrapped as cubes, and the products derived from them."""
