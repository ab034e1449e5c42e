"""The pixel grid of a cube: that of a map, that of level 1.5, or a part of either."""

from os import PathLike

import numpy as np

import astropy.units as u
from astropy.coordinates import SkyCoord

from sunpy_demreg._channels.resample import Grid
from sunpy_demreg._common.errors import first_line, wrong
from sunpy_demreg._common.urls import local_copy
from sunpy_demreg._common.validators import a_kind, as_path

__all__ = ["cropped", "own_grid", "reference_grid", "seen_as", "share_covered"]

_SCALE = 0.6 * u.arcsec  # of level 1.5


def own_grid(smap):
    """Grid of a map itself."""
    return Grid(smap.wcs, smap.data.shape, 1)


def reference_grid(images, reference):
    """
    Grid that images are interpolated to.

    Parameters
    ----------
    images : list of `sunpy_demreg._channels.aia_maps.Image`
    reference : map, file, wavelength or None
        As of `sunpy_demreg.prepare`.
    """
    from sunpy.map import GenericMap, contains_full_disk

    labels = {image.label: image.map for image in images}
    if isinstance(reference, str) and reference in labels:  # as the channels are named
        return own_grid(labels[reference])
    if isinstance(reference, str) and reference.startswith(f"{images[0].instrument} "):
        rule = f"must be one of the maps, {', '.join(labels)}"
        raise wrong(ValueError, "reference", f"{rule}, but is {reference!r}")
    if isinstance(reference, PathLike) or (isinstance(reference, str) and not _is_wavelength(reference)):
        reference = _read(reference)
    if isinstance(reference, GenericMap):
        if reference.data.size == 0:
            raise wrong(ValueError, "reference", f"has no pixels (its shape is {reference.data.shape})")
        return own_grid(reference)
    if reference is not None:
        by_channel = {image.channel: image.map for image in images}
        try:
            channel = float(u.Quantity(reference).to_value(u.AA))
        except (TypeError, ValueError, u.UnitsError) as err:
            raise wrong(
                TypeError,
                "reference",
                f"must be a map, its file, or the wavelength of one, such as 171 * u.AA, but is {reference!r:.80}",
            ) from err
        if images[0].instrument == "XRT":
            raise wrong(
                TypeError, "reference", f"must be a map, its file, or one of {', '.join(labels)}, but is {reference}"
            )
        if round(channel) not in by_channel or abs(channel - round(channel)) > 0.01:
            raise wrong(
                ValueError,
                "reference",
                f"must be the wavelength of one of the maps, {', '.join(map(str, by_channel))} Å, but is {channel:g} Å",
            )
        return own_grid(by_channel[round(channel)])
    first = images[0].map
    if images[0].instrument == "AIA" and all(contains_full_disk(image.map) for image in images):
        return Grid(_registered(first), first.data.shape, 1)
    return own_grid(first)


def _is_wavelength(text):
    try:
        u.Quantity(text, u.AA)
    except (TypeError, ValueError, u.UnitsError):
        return False
    return True


def _read(reference):
    """The map in a file."""
    from sunpy.map import GenericMap, Map

    path = as_path("reference", reference, "a map, its file, or the wavelength of one, such as 171 * u.AA,")
    if not path.is_file():
        cure = "give a map, its file, or the wavelength of one, such as 171 * u.AA"
        raise wrong(FileNotFoundError, "reference", f": there is no file {path}: {cure}")
    try:
        with local_copy(path) as place:
            smap = Map(place)
    except Exception as err:  # readers fail in as many ways as files do
        raise wrong(ValueError, "reference", f": cannot read {path} as a map ({first_line(err)})") from err
    if not isinstance(smap, GenericMap):
        raise wrong(ValueError, "reference", f": {path} must hold one image, not {len(smap)}: give a map")
    return smap


def _registered(smap):
    """WCS of a full-disk map after `aiapy.calibrate.register`: north up, centered, with a round pixel size."""
    # For images that were rebinned, a multiple.
    scale = max(1, round((smap.scale[0] * u.pix / _SCALE).to_value(u.one))) * _SCALE
    wcs = smap.wcs.deepcopy()
    wcs.wcs.pc = np.eye(2)
    wcs.wcs.cdelt = [scale.to_value(unit) for unit in wcs.wcs.cunit]
    wcs.wcs.crpix = [(length + 1) / 2 for length in smap.data.shape[::-1]]
    wcs.wcs.set()
    return wcs


def cropped(grid, submap, bin):
    """
    Cut a field out of a grid, in whole squares of averaged pixels.

    Returns
    -------
    Grid, (int, int)
        The cropped grid, and the row and column where it starts in the given one.
    """
    wcs, shape, corner = grid.wcs, grid.shape, (0, 0)
    if submap is not None:
        inner = _field(grid, submap)
        offset = np.round(wcs.wcs.crpix - inner.wcs.wcs.crpix).astype(int)[::-1]
        corner, shape = tuple(int(start) for start in offset), inner.data.shape
    if bin > min(shape):
        raise wrong(ValueError, "bin", f"must not be larger than the field, but is {bin} for the shape {shape}")
    shape = tuple(length // bin * bin for length in shape)
    wcs = wcs[tuple(slice(start, start + length) for start, length in zip(corner, shape, strict=True))]
    return Grid(wcs, shape, bin), corner


def _field(grid, submap):
    from sunpy.map import Map

    is_pair = isinstance(submap, tuple | list) and len(submap) == 2 and all(isinstance(c, SkyCoord) for c in submap)
    if not is_pair:
        raise wrong(
            TypeError,
            "submap",
            "must be a pair of coordinates, the bottom left and the top right corner, such as "
            f"(SkyCoord(...), SkyCoord(...)), but is {a_kind(submap)}",
        )
    whole = Map(np.broadcast_to(0.0, grid.shape), grid.wcs)
    try:
        field = whole.submap(submap[0], top_right=submap[1])
    except ValueError as err:
        raise wrong(ValueError, "submap", f"must lie in the images: {first_line(err)}") from err
    if field.data.size == 0:
        raise wrong(ValueError, "submap", "must lie in the images, but has no pixel in common with them")
    return field


def seen_as(grid, smap):
    """The same pixels, with the date and the observer of a map."""
    if grid.wcs.has_distortion:
        return grid
    wcs, pixels = smap.wcs.deepcopy(), grid.wcs.wcs
    for name in ("ctype", "cunit", "crval", "crpix", "lonpole", "latpole"):
        setattr(wcs.wcs, name, getattr(pixels, name))
    wcs.wcs.cdelt, wcs.wcs.pc = pixels.get_cdelt(), pixels.get_pc()
    wcs.array_shape = grid.shape
    wcs.wcs.set()
    return grid._replace(wcs=wcs)


def share_covered(grid, images):
    """Which share of a grid, of a few of its pixels, all of some images cover; each is a WCS and a shape."""
    y, x = (np.linspace(0, length - 1, 17) for length in grid.shape)
    world = grid.wcs.pixel_to_world_values(*np.meshgrid(x, y))
    is_covered = np.True_
    for wcs, shape in images:
        for place, length in zip(wcs.world_to_pixel_values(*world), shape[::-1], strict=True):
            is_covered = is_covered & (place > -1) & (place < length)
    return np.mean(is_covered)
