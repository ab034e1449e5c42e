"""What a paper needs of cubes and results: regions, time, and draws of the noise."""
