"""Steps for level-1 images only: deconvolution with the point spread function, and an update of the pointing."""

from collections.abc import Mapping
from os import PathLike

import numpy as np

import astropy.units as u
from astropy.table import QTable, Table

from sunpy_demreg._channels.headers import DETECTOR_SIDE
from sunpy_demreg._common.drms import load_drms
from sunpy_demreg._common.errors import first_line, wrong
from sunpy_demreg._common.network import fetched
from sunpy_demreg._common.urls import local_copy
from sunpy_demreg._common.validators import a_kind, as_path, by_wavelength

__all__ = ["deconvolved", "point_spreads", "repointed"]

_ANY_HEADER = {"ctype1": "HPLN-TAN", "ctype2": "HPLT-TAN", "cunit1": "arcsec", "cunit2": "arcsec"}  # for aiapy
_SOURCES = ("lmsal", "jsoc")


def point_spreads(images, psf):
    """
    Check the point spread functions for `deconvolved`.

    Parameters
    ----------
    images : list of `sunpy_demreg._channels.aia_maps.Image`
    psf : dict or "aiapy"
        As of `sunpy_demreg.prepare`.

    Returns
    -------
    list of `numpy.ndarray` or of "aiapy"
        For each image.
    """
    rule = "must be 'aiapy', or a dict of an array for each channel"
    if psf == "aiapy":
        functions = {}
    elif isinstance(psf, Mapping):
        functions = {key: np.asarray(value, float) for key, value in by_wavelength("psf", psf, rule).items()}
    else:
        raise wrong(TypeError, "psf", f"{rule}, but is {a_kind(psf)}")
    return [_as_function(image, functions) for image in images]


def _as_function(image, functions):
    if not functions:
        if image.map.data.shape != (DETECTOR_SIDE, DETECTOR_SIDE):
            raise wrong(
                ValueError,
                "psf",
                f"'aiapy' is of the whole detector, 4096 × 4096 pixels, but {image.name} has the shape "
                f"{image.map.data.shape}: pass full images, or a dict of an array of that shape for each channel",
            )
        return "aiapy"
    function = functions.get(image.channel)
    if function is None:
        raise wrong(ValueError, "psf", f"has no entry for {image.channel} Å: give one for each map")
    if function.shape != image.map.data.shape:
        raise wrong(
            ValueError,
            "psf",
            f"of {image.channel} Å has the shape {function.shape} but {image.name} has "
            f"{image.map.data.shape}: they must be the same",
        )
    if not (np.isfinite(function).all() and np.isclose(function.sum(), 1, rtol=1e-3)):
        raise wrong(
            ValueError,
            "psf",
            f"of {image.channel} Å must be finite and have the sum 1, but has {function.sum():.4g}: divide it by that",
        )
    return function


def deconvolved(data, channel, psf):
    """
    Deconvolve an image with `aiapy.psf.deconvolve`.

    Parameters
    ----------
    data : `numpy.ndarray`
        Finite: NaN or infinity would spread over the whole image.
    channel : int
        Its wavelength, in Å.
    psf : `numpy.ndarray` or "aiapy"
        The point spread function, as of `point_spreads`.
    """
    load_drms()
    from aiapy.psf import calculate_psf, deconvolve
    from sunpy.map import Map

    if isinstance(psf, str):
        psf = np.asarray(calculate_psf(channel * u.AA))
    # aiapy takes even sides only; the center of the function is then at the pixel with half the side as its index.
    odd = [length % 2 for length in data.shape]
    smap = Map(np.pad(data, [(0, n) for n in odd], mode="edge"), _ANY_HEADER)
    n_y, n_x = data.shape
    return deconvolve(smap, psf=np.pad(psf, [(n, 0) for n in odd])).data[:n_y, :n_x]


def repointed(images, pointing_table):
    """Update the pointing of images from a table, which may have to be fetched; return them, and its source."""
    load_drms()
    from aiapy.calibrate import update_pointing

    table, source = _read_pointing_table(pointing_table, images)
    updated = []
    for image in images:
        try:
            updated.append(image._replace(map=update_pointing(image.map, pointing_table=table)))
        except (IndexError, KeyError) as err:
            raise wrong(
                ValueError, "pointing_table", f"has no usable entry for {image.name}: {str(err).strip()}"
            ) from err
    return updated, source


def _read_pointing_table(table, images):
    load_drms()
    from aiapy.calibrate.utils import get_pointing_table

    if isinstance(table, Table):
        return QTable(table), "given"
    if isinstance(table, str) and table.lower() in _SOURCES:
        dates = [image.map.reference_date for image in images]
        # Entries span three hours, with rare exceptions.
        span = (min(dates) - 12 * u.hour, max(dates) + 12 * u.hour)
        arguments = {"source": table.lower(), "time_range": span}
        return fetched("the pointing table", "pointing_table", get_pointing_table, **arguments), table.lower()
    if not isinstance(table, str | PathLike):
        raise wrong(
            TypeError,
            "pointing_table",
            f"must be a table, a file, 'lmsal' or 'jsoc', but is {a_kind(table)}: see "
            "`aiapy.calibrate.utils.get_pointing_table`",
        )
    path = as_path("pointing_table", table)
    if not path.is_file():
        raise wrong(
            FileNotFoundError,
            "pointing_table",
            f": there is no file {path}; to fetch the table, pass 'lmsal' or 'jsoc'",
        )
    try:
        with local_copy(path) as place:
            return QTable.read(place), path.name
    except Exception as err:  # readers fail in as many ways as files do
        raise wrong(
            ValueError,
            "pointing_table",
            f": {path} cannot be read as a table ({first_line(err)}): write it with "
            "`get_pointing_table(...).write('pointing.ecsv')`, which keeps the units",
        ) from err
