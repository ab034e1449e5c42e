"""What all engines share: the problem, the solution, tables, limits of precision."""
