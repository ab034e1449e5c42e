"""FITS headers of images, as SOLARNET recommends them: what, of which instrument, when, and how it was made."""

import json

import numpy as np

import astropy.units as u

from sunpy_demreg import __version__
from sunpy_demreg._common.dates import known_dates, mean_date
from sunpy_demreg._common.metadata import unit_name

__all__ = ["dates_of", "describe", "describe_image", "with_dates"]

_OF_DATES = ("DATE-", "MJD-", "DATEREF", "MJDREF", "TIMESYS")
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
    _in_arcsec(header)
    header["BUNIT"] = unit_name(cube.unit)
    return describe(header, cube.meta or {})


def describe(header, meta):
    """As `describe_image`, of the metadata of a cube, without its unit and with the coordinates as they are."""
    observation = meta.get("observation", meta) or {}
    content = _content(meta)
    if content:
        header["BTYPE"] = header["CONTENT"] = content
    header.update(_plane_cards(meta))
    _add_dates(header, observation)
    names = sorted({str(name) for name in np.ravel(np.array(observation.get("instrument"), dtype=object)) if name})
    if names:
        # With the observatory in front: sunpy takes an "AIA" for an image in DN of one channel.
        names = [name if "/" in name else f"{_observatory(name)}/{name}" for name in names]
        header["TELESCOP"] = ", ".join(dict.fromkeys(name.partition("/")[0] for name in names))
        header["INSTRUME"] = ", ".join(names)
    header["CREATOR"] = f"sunpy_demreg {__version__}"
    if settings := meta.get("settings"):
        header["LEVEL"] = "2"
        header["PRSTEP1"], header["PRPROC1"] = "DEM-INVERSION", "sunpy_demreg.invert"
        # As JSON, which SOLARNET tells by its first character.
        header["PRPARA1"] = json.dumps(dict(settings))
    return header


def dates_of(header):
    """The cards with dates: of a header of coordinates, those that are part of these."""
    return {key: value for key, value in header.items() if key.startswith(_OF_DATES)}


def with_dates(header, dates):
    """A copy of a header with these dates in place of its own, which describe an image."""
    header = header.copy()
    for key in dates_of(header):
        del header[key]
    header.update(dates)
    return header


def _observatory(instrument):
    return _OBSERVATORY.get(instrument.partition("-")[0].partition("_")[0].upper(), "unknown")


def _plane_cards(meta):
    """Cards that say what each of several planes is, PLANE1 and so on, of which each has a different name."""
    content = meta.get("content")
    planes = content[:999] if np.ndim(content) == 1 else ()  # keywords have eight characters
    return {f"PLANE{i + 1}": str(each) for i, each in enumerate(planes)}


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
            for keyword, comment in (("CRVAL", "[arcsec] at CRPIX"), ("CDELT", "[arcsec] per pixel")):
                header[f"{keyword}{axis}"] = (float(f"{header[f'{keyword}{axis}'] * 3600:.13g}"), comment)
            header[f"CUNIT{axis}"] = "arcsec"


def _add_dates(header, observation):
    """Those of all channels; of a series, or where none is known, the date of the coordinates is kept."""
    dates = observation.get("date")
    if np.ndim(dates) > 1:
        return
    known, is_known = known_dates(dates)
    if known is None:
        return
    mean = mean_date(known)
    for keyword in [key for key in header if key.startswith(("DATE-", "MJD-"))]:
        del header[keyword]

    def seconds(key):
        value = observation.get(key)
        value = np.broadcast_to(0 if value is None else value.to_value(u.s), is_known.shape)[is_known]
        return np.nan_to_num(value, posinf=0, neginf=0) * u.s

    has_span = "end_offset" in observation
    first = (known.tai + seconds("start_offset")).min()
    last = (known.tai + seconds("end_offset" if has_span else "exposure_time")).max()
    # The date of a sum is a mean, from which its first and last exposure are not known.
    is_span_known = has_span or "coadd" not in np.ravel(np.array(observation.get("exposures"), dtype=object))
    header["TIMESYS"] = "UTC"
    of = "mean of the channels"
    for name, date, comment in (
        ("OBS", mean, of),
        *[("BEG", first.utc, "of the first channel")] * is_span_known,
        ("AVG", mean, of),
        *[("END", last.utc, "of the last channel")] * is_span_known,
    ):
        header[f"DATE-{name}"] = (date.isot, comment)
        header[f"MJD-{name}"] = date.mjd  # or astropy would warn that it has set it
    reference = first.utc if is_span_known else mean
    header["DATEREF"], header["MJDREF"] = reference.isot, reference.mjd
