"""HTML representation of a cube of channels in notebooks: when, of what, and how much of it can be used."""

from html import escape

import numpy as np

import astropy.units as u

from sunpy_demreg._common.dates import in_words

__all__ = ["cube_html", "of_observation"]


def of_observation(observation):
    """Instrument and dates, in words, as far as they are known."""
    facts = []
    names = {str(name) for name in np.ravel(np.array(observation.get("instrument"), dtype=object)) if name}
    if names:
        facts.append(", ".join(sorted(names)))
    if date := in_words(observation.get("date")):
        facts.append(date)
    return facts


def cube_html(cube):
    """The HTML of a cube of channels; None for any other. Dask arrays are not computed."""
    meta = cube.meta or {}
    labels = meta.get("channels")
    if labels is None or np.shape(labels) != cube.data.shape[:1]:
        return None
    shape = " × ".join(map(str, cube.data.shape))
    facts = [*of_observation(meta), f"{shape}, {cube.unit.to_string('unicode') or '1'}"]
    if meta.get("steps"):
        facts.append(f"done: {', '.join(meta['steps'])}")
    is_known = isinstance(cube.data, np.ndarray)
    head = ["channel", "exposure", "range", "masked", "saturated", "missing"]
    rows = "".join(_row(cube, i, str(label), is_known) for i, label in enumerate(labels))
    return (
        f"<div><b>Channels</b><br>{'<br>'.join(map(escape, facts))}</div>"
        f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(cube, i, label, is_known):
    times = u.Quantity(cube.meta.get("exposure_time", np.nan * u.s)).to_value(u.s)
    times = np.atleast_1d(np.broadcast_to(times, (len(cube.data), *np.shape(times)[1:]))[i])
    exposure = _extent(times[np.isfinite(times)], " s")
    cells = [label, exposure, "not computed yet", "", "", ""]
    if is_known:
        plane = cube.data[i]
        mask = np.broadcast_to(False if cube.mask is None else cube.mask, cube.data.shape)[i]
        error = np.asarray(np.nan if cube.uncertainty is None else cube.uncertainty.array)
        error = np.broadcast_to(error, cube.data.shape)[i]
        is_missing = np.isnan(plane) | (np.isnan(error) & (cube.uncertainty is not None))
        extent = _extent(plane[np.isfinite(plane) & ~mask])
        # A saturated pixel has an infinite error.
        counts = [np.count_nonzero(each) for each in (mask, np.isinf(error), is_missing)]
        cells = [label, exposure, extent, *map(str, counts)]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _extent(values, unit=""):
    """From the least to the most of some values, in words."""
    if not values.size:
        return ""
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
