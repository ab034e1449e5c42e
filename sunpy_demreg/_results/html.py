"""HTML representation of a result in notebooks: a picture, and a table of its cubes."""

import base64
import io
from html import escape

import numpy as np

import astropy.units as u

from sunpy_demreg._common.cube_html import of_observation
from sunpy_demreg._common.log_t import log_t_texts
from sunpy_demreg._engines.base.status import is_unsolved, status_counts
from sunpy_demreg._results.images import emission_measure_image, log_limits
from sunpy_demreg._results.settings import told_settings

__all__ = ["result_html"]

_SIZE = 160  # pixels of the picture along its longer side


def result_html(result):
    """The HTML of a result. Dask arrays are not computed: only their shape and unit are shown."""
    rows = "".join(_row(key, cube) for key, cube in result.items())
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    facts = [
        f"{len(edges) - 1} temperature bins, log T = {' to '.join(log_t_texts(np.log10(edges[[0, -1]])))}",
        f"channels: {', '.join(result.meta['channels'])}",
        ", ".join(f"{name} = {value}" for name, value in told_settings(result.meta).items()),
    ]
    status = result["status"].data
    if isinstance(status, np.ndarray):
        n_unsolved = np.count_nonzero(is_unsolved(status))
        facts.insert(0, f"{status.size} pixels, {n_unsolved} of them without a DEM")
        counts = status_counts(status)
        if len(counts) > 1:
            facts.insert(1, "status: " + ", ".join(f"{n} {name}" for name, n in counts.items() if name != "pixels"))
    else:
        facts.insert(0, f"{status.size} pixels, not computed yet; see the cube status for those without a DEM")
    if "chi_squared" in result and isinstance(result["chi_squared"].data, np.ndarray):
        values = result["chi_squared"].data
        values = values[np.isfinite(values)]
        facts += [f"median χ² per channel: {np.median(values):.3g}"] if values.size else []
    facts = of_observation(result.meta.get("observation") or {}) + facts
    text = "<br>".join(escape(fact) for fact in facts)
    head = "".join(f"<th>{name}</th>" for name in ("cube", "shape", "unit", "range", "masked"))
    return (
        f"<div><b>DEM inversion</b><br>{text}</div>"
        f'<div style="display: flex; gap: 1em; align-items: flex-start">{_picture(result)}'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(key, cube):
    known = isinstance(cube.data, np.ndarray)
    extent, masked = "not computed yet", ""
    if known:
        mask = np.broadcast_to(False if cube.mask is None else cube.mask, cube.data.shape)
        values = cube.data[np.isfinite(cube.data) & ~mask]
        if values.size and values.dtype == bool:
            extent = f"{np.count_nonzero(values) / values.size:.0%} true"
        else:
            extent = f"{values.min():.3g} to {values.max():.3g}" if values.size else "none"
        masked = f"{np.count_nonzero(mask)}"
    cells = (key, " × ".join(map(str, cube.data.shape)), cube.unit.to_string("unicode") or "1", extent, masked)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _picture(result):
    """The emission measure of an image, as an HTML tag; empty if there is no image in memory."""
    if "dem" not in result or result["status"].data.ndim != 2 or not isinstance(result["dem"].data, np.ndarray):
        return ""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from PIL import Image

    # Only if it is there: to find it takes a second per million pixels.
    resolved = result["is_resolved"].data if "is_resolved" in result else None
    image = emission_measure_image(result, None, resolved=resolved)
    image = image[tuple(slice(None, None, max(1, n // _SIZE)) for n in image.shape)][::-1]
    norm = LogNorm(*log_limits([image]), clip=True)
    colors = colormaps["inferno"](norm(np.ma.masked_invalid(np.where(image > 0, image, np.nan))), bytes=True)
    buffer = io.BytesIO()
    picture = Image.fromarray(colors)
    scale = _SIZE / max(picture.size)
    picture.resize([max(1, round(n * scale)) for n in picture.size], Image.Resampling.NEAREST).save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="Emission measure" src="data:image/png;base64,{data}">'
