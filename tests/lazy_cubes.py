"""Channel cubes whose arrays are Dask's."""

import dask.array as da

from astropy.nddata import StdDevUncertainty
from ndcube import NDCube


def lazily(cube, chunks, uncertainty=None):
    """The cube in blocks; of another kind of uncertainty, that class."""
    arrays = cube.data, cube.mask, cube.uncertainty.array
    data, mask, sigma = (da.from_array(array, chunks=chunks) for array in arrays)
    uncertainty = StdDevUncertainty(sigma, copy=False) if uncertainty is None else uncertainty(sigma)
    return NDCube(data, cube.wcs, unit=cube.unit, mask=mask, uncertainty=uncertainty, meta=cube.meta)
