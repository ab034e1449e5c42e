"""Type aliases for arguments of public functions, for type checkers and editors; nothing is imported at run time."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from os import PathLike

    import numpy as np

    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.time import Time
    from sunpy.map import GenericMap, MapSequence

__all__ = ["Backend", "Date", "FilePath", "Maps", "Pixel", "Regions", "Spectra", "TableOrFile"]

type FilePath = str | PathLike[str]
type TableOrFile = Table | FilePath
type OneMap = GenericMap | FilePath
type Maps = OneMap | MapSequence | Sequence[OneMap] | Mapping[Any, OneMap]
type Date = Time | datetime | date | np.datetime64 | str
type Pixel = Sequence[int] | SkyCoord | str  # array index, in the order of the axes, or the pixel there, or a region
type Regions = Any  # coordinates, masks, levels, and lists and dicts of them: see `region_spectrum`
type Backend = Literal["cpu", "numpy", "cupy"]
# (temperature, wavelength, spectrum), or the package that has them.
type Spectra = tuple[u.Quantity, u.Quantity, u.Quantity] | Literal["xrtpy", "fiasco"]
