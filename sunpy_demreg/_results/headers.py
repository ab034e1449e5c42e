"""FITS headers of images, as SOLARNET recommends them: what, of which instrument, when, and how it was made."""

import json

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg import __version__
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.metadata import unit_name

__all__ = ["describe_image"]

_OBSERVATORY = {"AIA": "SDO", "XRT": "Hinode", "SUVI": "GOES", "EUVI": "STEREO"}


def describe_image(header, cube):
    """
    Complete the header of an image.

    Parameters
    ----------
    header : `astropy.io.fits.Header`
        With the coordinates of the image; is changed: angles are in arcsec, dates those of the observation.
    cube : `ndcube.NDCube`
        What the image is, in its unit and metadata; these may be those of several planes.

    Returns
    -------
    `astropy.io.fits.Header`
        The same.
    """
    meta = cube.meta or {}
    observation = meta.get("observation", meta) or {}
    _in_arcsec(header)
    header["BUNIT"] = unit_name(cube.unit)
    content = _content(meta)
    if content:
        header["BTYPE"] = header["CONTENT"] = content
    _add_dates(header, observation)
    names = sorted({str(name) for name in np.ravel(np.array(observation.get("instrument"), dtype=object)) if name})
    if names:
        known = [_OBSERVATORY.get(name.partition("-")[0].partition("_")[0].upper()) for name in names]
        header["TELESCOP"] = ", ".join(dict.fromkeys(name or "unknown" for name in known))
        # With the observatory in front: sunpy takes an "AIA" for an image in DN of one channel.
        header["INSTRUME"] = ", ".join(
            f"{of}/{name}" if of else f"unknown/{name}" for of, name in zip(known, names, strict=True)
        )
    header["CREATOR"] = f"sunpy_demreg {__version__}"
    if settings := meta.get("settings"):
        header["LEVEL"] = "2"
        header["PRSTEP1"], header["PRPROC1"] = "DEM-INVERSION", "sunpy_demreg.invert"
        # As JSON, which SOLARNET tells by its first character.
        header["PRPARA1"] = json.dumps(dict(settings))
    return header


def _content(meta):
    """What the values are, in words; of several planes what their names have in common."""
    content = meta.get("content")
    if content is None and "channels" in meta:
        return "intensity" if np.ndim(meta["channels"]) else f"intensity, {meta['channels']}"
    if content is None or np.ndim(content) == 0:
        return "" if content is None else str(content)
    kinds = {str(one).partition(",")[0] for one in np.ravel(content)}
    return kinds.pop() if len(kinds) == 1 else ""


def _in_arcsec(header):
    for axis in range(1, header.get("WCSAXES", 2) + 1):
        if header.get(f"CUNIT{axis}") == "deg" and header.get(f"CTYPE{axis}", "").startswith(("HPLN", "HPLT")):
            for keyword in ("CRVAL", "CDELT"):
                header[f"{keyword}{axis}"] = float(f"{header[f'{keyword}{axis}'] * 3600:.13g}")
            header[f"CUNIT{axis}"] = "arcsec"


def _add_dates(header, observation):
    """Those of all channels; of a series, or where none is known, the date of the coordinates is kept."""
    dates = observation.get("date")
    if np.ndim(dates) > 1:
        return
    mean = mean_date(dates)
    if mean is None:
        return
    for keyword in [key for key in header if key.startswith(("DATE-", "MJD-"))]:
        del header[keyword]
    each = np.ravel(np.array(dates, dtype=object)) if not isinstance(dates, Time) else dates.reshape(-1)
    exposure = observation.get("exposure_time")
    exposure = np.broadcast_to(0 if exposure is None else exposure.to_value(u.s), len(each))
    known = [(Time(date).tai, seconds) for date, seconds in zip(each, exposure, strict=True) if date is not None]
    first = min(date for date, _ in known)
    last = max(date + (seconds if np.isfinite(seconds) else 0) * u.s for date, seconds in known)
    header["TIMESYS"] = "UTC"
    of = "mean of the channels"
    for name, date, comment in (
        ("OBS", mean, of),
        ("BEG", first.utc, "of the first channel"),
        ("AVG", mean, of),
        ("END", last.utc, "of the last channel"),
    ):
        header[f"DATE-{name}"] = (date.isot, comment)
        header[f"MJD-{name}"] = date.mjd  # or astropy would warn that it has set it
    header["DATEREF"], header["MJDREF"] = first.utc.isot, first.utc.mjd
