"""
==============================
A map too large for memory
==============================

With Dask arrays nothing is computed until it is written, block by block. The example uses a small map; a full disk, or
a year of them, works in the same way.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg as demreg

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K

# %%
# Blocks of 32 × 32 pixels with all channels; for real data about 256 × 256.

chunks = (6, 32, 32)
lazy_cube = NDCube(
    da.from_array(cube.data, chunks=chunks),
    cube.wcs,
    uncertainty=StdDevUncertainty(da.from_array(cube.uncertainty.array, chunks=chunks)),
    mask=da.from_array(cube.mask, chunks=chunks),
    unit=cube.unit,
    meta=cube.meta,
)
result = demreg.invert(lazy_cube, response, edges, method="lognormal")
result

# %%
# Nothing has been computed yet. Writing computes each block once, for all outputs, and then frees its memory.

with TemporaryDirectory() as folder:
    path = Path(folder) / "dem.fits"
    demreg.write(result, path)
    print(f"{path.stat().st_size / 1e6:.0f} MB")
    written = demreg.read(path)

print(f"median chi-squared: {np.nanmedian(written['chi_squared'].data):.2f}")

# %%
# The result does not depend on the blocks, to the last bit. A part of it can be computed alone:

part = result[..., 40:60, 40:60]["dem"].data.compute()
print(np.array_equal(part, written["dem"].data[:, 40:60, 40:60], equal_nan=True))

# %%
# Maps are drawn from the file as from memory. A name that ends in ``.zarr`` creates a store that is also read block by
# block; :doc:`/large` describes time series and clusters.

demreg.visualization.plot_composite(written)
plt.show()
