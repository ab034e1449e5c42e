"""
The benchmark: ``sunpy-demreg bench``, and ``make bench``.

Absolute times are noise: another machine, or another user of this one, changes them. So every measurement here runs
what it compares in turns, in one process, and reports ratios beside the times; and it recomputes the misfit from each
answer, so that a fast wrong one cannot win. Each part runs in a process of its own, with a given number of cores.
"""
