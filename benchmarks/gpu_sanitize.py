"""
A few pixels through each form of the GPU's kernels, for NVIDIA's checker of memory accesses and races.

    compute-sanitizer --tool memcheck  --error-exitcode 1 python benchmarks/gpu_sanitize.py
    compute-sanitizer --tool racecheck --error-exitcode 1 python benchmarks/gpu_sanitize.py

It needs what `gpu.py` needs.
"""

import numpy as np
from gpu import check_requirements
from gpu_pixels import pixels, problem

from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import OUTPUTS, Options

STANDARD, LOGNORMAL = Options(), Options(method="lognormal", parameter_choice="prior", dem_error="posterior")
CASES = [  # bins, pixels, options
    (41, 1000, STANDARD),
    (41, 100, Options(positivity="constrain")),
    (41, 100, Options(parameter_choice="grid")),
    (12, 100, Options(outputs=OUTPUTS)),  # bins are shared out to threads
    (200, 30, STANDARD),  # a block for each pixel
    (41, 200, LOGNORMAL),
    (200, 30, LOGNORMAL),
]


def main():
    check_requirements()
    import cupy

    cupy.cuda.set_allocator(None)  # each array by itself, so that an access beyond it is seen
    for n_bins, n_pixels, options in CASES:
        g, sigma = pixels(n_pixels)
        g[0, ::7] = -1.0
        status = execute.classify(g, sigma)
        given = problem(n_bins, options)._replace(functional=np.ones((1, n_bins)))
        there = [cupy.asarray(a) for a in (g, sigma, status)]
        answer = execute.run(*there, given, backend="cupy")
        truth = execute.run(g, sigma, status, given, backend="numpy")
        np.testing.assert_array_equal(answer.status.get(), truth.status)
        print(n_bins, n_pixels, "solved", flush=True)


if __name__ == "__main__":
    main()
