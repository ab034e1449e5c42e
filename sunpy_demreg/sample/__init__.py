"""
Real AIA data to try the package on, without a download.

Courtesy of NASA/SDO and the AIA science team. ``data/README.md`` beside this file tells
where the files come from and what was done to them.
"""

from pathlib import Path

__all__ = ["aia_files", "aia_maps", "flare_maps"]

_DATA = Path(__file__).parent / "data"
_FLARE_TIMES = ("01-44", "01-46")


def aia_files():
    """
    List the files of the six maps of `aia_maps`, ordered by wavelength.

    Returns
    -------
    list of `~pathlib.Path`
    """
    return sorted(_DATA.glob("aia_2014-*.fits"))


def aia_maps():
    """
    Load six maps of active regions at the limb, 2014-01-01 00:00 UT.

    Active regions at S12 E78 and, with hot loops above the east limb, behind it (NOAA 11944), their
    corona, and quiet Sun: cutouts of 128 x 128 pixels from level-1.5 synoptic maps. Each value is the mean
    of 4 x 4 AIA pixels in DN, so pass ``n_sample=16`` to `sunpy_demreg.prepare`.

    Returns
    -------
    list of `~sunpy.map.sources.AIAMap`
        94, 131, 171, 193, 211 and 335 Å.
    """
    return _load(aia_files())


def flare_maps(step):
    """
    Load six level-1 maps of the start of the X2.2 flare of 2011-02-15.

    Cutouts of 67 x 67 pixels in DN, as the Joint Science Operations Center delivers them: each channel
    has its own plate scale, rotation and corner, and `sunpy_demreg.prepare` refuses them until they are
    reprojected to one grid.

    Parameters
    ----------
    step : {0, 1}
        0 for 01:44 UT, 1 for 01:46 UT.

    Returns
    -------
    list of `~sunpy.map.sources.AIAMap`
        94, 131, 171, 193, 211 and 335 Å.

    Raises
    ------
    ValueError
        If `step` is neither 0 nor 1.

    Examples
    --------
    Level-1 cutouts, put on the grid of one of them, with headers that make them level 1.5:

    >>> from sunpy.map import Map
    >>> from sunpy_demreg import prepare, sample
    >>> maps = sample.flare_maps(0)
    >>> kept = ("instrume", "wavelnth", "waveunit", "exptime", "date-obs")
    >>> on_one_grid = []
    >>> for m in maps:
    ...     new = m.reproject_to(maps[2].wcs)
    ...     header = {**new.meta, **{key: m.meta[key] for key in kept}, "lvl_num": 1.5}
    ...     on_one_grid.append(Map(new.data, header))
    >>> prepare(on_one_grid).shape
    (6, 67, 67)
    """
    if step not in range(len(_FLARE_TIMES)):
        raise ValueError(f"`step` must be 0 (01:44 UT) or 1 (01:46 UT), got {step!r}")
    return _load(sorted(_DATA.glob(f"aia_flare_2011-02-15T{_FLARE_TIMES[step]}_*.fits")))


def _load(paths):
    from sunpy.map import Map

    return [Map(path) for path in paths]
