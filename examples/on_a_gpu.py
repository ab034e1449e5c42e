"""
========
On a GPU
========

The same call on an NVIDIA GPU. Without one, this example runs on the CPU and prints a note.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# %%
# The GPU engine needs CuPy, for the CUDA version of the driver: ``pip install "sunpy-demreg[cuda12]"``, or
# ``[cuda13]``.


def has_gpu():
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # CuPy fails in as many ways as drivers do
        return False


backend = "cupy" if has_gpu() else "cpu"
print("running on the GPU" if backend == "cupy" else "no GPU found: running on the CPU")

# %%
# Apart from rounding, the result is the same on all backends. The first call compiles.

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
for _ in range(2):
    start = time.perf_counter()
    result = demreg.invert(cube, response, edges, backend=backend)
    seconds = time.perf_counter() - start
microseconds = 1e6 * seconds / result["status"].data.size
print(f"backend={backend!r}, 37 bins, all outputs:")
print(f"{microseconds:.2f} µs per pixel")

# %%
# As a check, compare a part of it with ``backend="numpy"``, plain arrays.

corner = np.s_[:, 40:60, 40:60]
plain = demreg.invert(cube[corner], response, edges, backend="numpy")
difference = np.abs(result["dem"].data[corner] - plain["dem"].data) / np.nanmax(
    plain["dem"].data, axis=0
)
print(f"largest difference: {np.nanmax(difference):.1e} of a pixel's peak")
print(f"median chi-squared: {np.nanmedian(result['chi_squared'].data):.2f}")

# %%
# What is not resolved is grayed out, as in every plot of a result.

demreg.visualization.plot_emission_measure_grid(result, [1, 2, 4, 8] * u.MK)
plt.show()
