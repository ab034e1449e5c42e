"""
========
On a GPU
========

The same call on an NVIDIA GPU. Without one this example runs on the processor, and says so.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# %%
# A GPU needs CuPy, for the CUDA of its driver: ``pip install "sunpy-demreg[cuda12]"``, or ``[cuda13]``.


def has_gpu():
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # CuPy fails in as many ways as drivers do
        return False


backend = "cupy" if has_gpu() else "cpu"
print(
    "there is a GPU" if backend == "cupy" else "no GPU here: this runs on the processor"
)

# %%
# The answer does not depend on where it is computed, but for rounding. The first call compiles.

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
for _ in range(2):
    start = time.perf_counter()
    result = demreg.invert(cube, response, edges, backend=backend)
    seconds = time.perf_counter() - start
print(
    f"{1e6 * seconds / result['status'].data.size:.2f} µs per pixel, all outputs, 37 bins, backend={backend!r}"
)

# %%
# To be sure, compare a corner with plain arrays.

corner = np.s_[:, 40:60, 40:60]
plain = demreg.invert(cube[corner], response, edges, backend="numpy")
difference = np.abs(result["dem"].data[corner] - plain["dem"].data) / np.nanmax(
    plain["dem"].data, axis=0
)
print(
    f"largest difference from backend='numpy': {np.nanmax(difference):.1e} of a pixel's peak"
)
print(f"median chi-squared: {np.nanmedian(result['chi_squared'].data):.2f}")

# %%

demreg.visualization.plot_emission_measure_grid(result, [1, 2, 4, 8] * u.MK)
plt.show()
