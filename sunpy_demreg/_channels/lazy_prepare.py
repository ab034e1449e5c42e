"""`sunpy_demreg.prepare` brought to the blocks of maps that hold Dask arrays."""

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty

from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._channels.uncertainty import read_error_table
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import map_pixels
from sunpy_demreg._common.grids import check_same_grid
from sunpy_demreg._common.wcs import prepend_axis

__all__ = ["prepare_lazily"]

_WHOLE = ("psf", "pointing_table", "reference", "submap", "bin")  # options that need whole images


def prepare_lazily(maps, options):
    """
    Prepare maps of one time when their values are asked for.

    Level 1.5 maps are prepared block by block, pixel for pixel. What moves pixels needs whole images: such maps are
    prepared at once, and only what follows is lazy.

    Parameters
    ----------
    maps : dict of `~sunpy.map.GenericMap`
        With Dask arrays, by their names.
    options : dict
        Of `sunpy_demreg.prepare`.

    Returns
    -------
    `~ndcube.NDCube`
        As from `sunpy_demreg.prepare`, with Dask arrays.
    """
    import dask.array as da

    from sunpy.map import Map

    if options.keys() & set(_WHOLE) or any(float(m.meta.get("lvl_num", 1.5)) != 1.5 for m in maps.values()):
        cube = prepare({n: Map(m.data.compute(), m.meta, mask=m.mask) for n, m in maps.items()}, **options)
        data, sigma, mask = (
            da.from_array(array, chunks=(len(maps), 256, -1))
            for array in (cube.data, cube.uncertainty.array, cube.mask)
        )
        return Cube(
            data, cube.wcs, unit=cube.unit, uncertainty=StdDevUncertainty(sigma, copy=False), mask=mask, meta=cube.meta
        )
    # Read once, and not in threads, where aiapy's silencing of warnings about its dates would leak.
    options = options | {"error_table": read_error_table(options.get("error_table"))}
    # All that headers tell, with all checks of them.
    template = prepare({name: Map(np.ones((2, 2)), smap.meta) for name, smap in maps.items()}, **options)
    by_wavelength = sorted(maps.values(), key=lambda smap: smap.wavelength)
    _check_grids(maps, by_wavelength[0])
    shape = (len(maps), *by_wavelength[0].data.shape)
    arrays = [smap.data for smap in maps.values()] + [smap.mask for smap in maps.values()]
    outputs = [((len(maps),), np.dtype(kind)) for kind in (float, float, bool)]
    headers = {name: dict(smap.meta) for name, smap in maps.items()}
    data, sigma, mask = map_pixels(_prepared, outputs, arrays, 2, headers=headers, options=options)
    meta = template.meta
    return Cube(
        data,
        unit=template.unit,
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=mask,
        wcs=prepend_axis(
            by_wavelength[0].wcs, u.Quantity([m.wavelength for m in by_wavelength]), "wavelength", "em.wl"
        ),
        meta=Meta(dict(meta), axes=dict(meta.axes), data_shape=shape),
    )


def _prepared(*arrays, headers, options):
    """Intensity, uncertainty and mask of the same part of each map."""
    from sunpy.map import Map

    data, masks = arrays[: len(headers)], arrays[len(headers) :]
    parts = zip(headers.items(), data, masks, strict=True)
    cube = prepare({name: Map(part, header, mask=mask) for (name, header), part, mask in parts}, **options)
    return cube.data, cube.uncertainty.array, cube.mask


def _check_grids(maps, first):
    """The grids of whole images; `prepare` sees parts of them."""
    for name, smap in maps.items():
        check_same_grid(
            "maps",
            ("that of the shortest wavelength", first.wcs, first.data.shape),
            (name, smap.wcs, smap.data.shape),
            "reproject the maps to one grid",
        )
