"""The uncertainty of AIA counts, by the model of aiapy from a local table."""

from collections.abc import Mapping
from numbers import Real
from pathlib import Path

import numpy as np

import astropy.units as u
from astropy.table import Table

from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind

__all__ = ["as_floors", "count_error", "read_error_table"]

_ERROR_TABLE = Path(__file__).parent / "data" / "aia_V3_error_table.txt"


def read_error_table(error_table):
    """Read an error table from a file, the bundled one by default, without ever using the network."""
    from aiapy.calibrate.utils import get_error_table

    if error_table is None:
        error_table = _ERROR_TABLE
    if isinstance(error_table, str | Path):
        if not Path(error_table).is_file():
            raise wrong(FileNotFoundError, "error_table", f": there is no file {error_table}")
        error_table = get_error_table(Path(error_table))  # as a str, "SSW" would mean a download
    if not isinstance(error_table, Table):
        raise wrong(TypeError, "error_table", f"must be a table or a file, but is {a_kind(error_table)}")
    if "WAVELNTH" not in error_table.colnames:
        raise wrong(ValueError, "error_table", "must be an error table of SolarSoft, but has no column WAVELNTH")
    for channel in AIA_CHANNELS:
        n_rows = np.count_nonzero(error_table["WAVELNTH"] == channel * u.AA)
        if n_rows != 1:
            raise wrong(ValueError, "error_table", f"must have one row for {channel} Å but has {n_rows}")
    return error_table


def count_error(counts, channel, n_sample, include_eve, include_chianti, table):
    """
    Standard deviation of raw counts, in DN / pix.

    `n_sample` may be an array of the shape of `counts`, and need not be whole: it is how many independent values
    of equal variance were averaged, or would have to be for the same variance.
    """
    from aiapy.calibrate import estimate_error

    return estimate_error(
        np.clip(counts, 0, None) << u.DN / u.pix,
        channel * u.AA,
        n_sample=n_sample,
        include_eve=include_eve,
        include_chianti=include_chianti,
        error_table=table,
    ).to_value(u.DN / u.pix)


def as_floors(relative_floor, channels):
    """Least relative error of each channel, of one for all or a dict by wavelength."""
    if not isinstance(relative_floor, Mapping):
        relative_floor = dict.fromkeys(channels, relative_floor)
    else:
        try:
            relative_floor = {round(u.Quantity(key, u.AA).value): value for key, value in relative_floor.items()}
        except (TypeError, u.UnitsError) as err:
            raise wrong(
                TypeError,
                "relative_floor",
                f"must be one number, or a dict of one for each channel, such as {{171: 0.1}}, got {relative_floor!r}",
            ) from err
        unknown = [str(key) for key in relative_floor if key not in channels]
        if unknown:
            raise wrong(ValueError, "relative_floor", f"names {', '.join(unknown)} Å, of which there is no map")
    for value in relative_floor.values():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise wrong(
                TypeError, "relative_floor", f"must be one number, or a dict of numbers by channel, got {value!r}"
            )
        if not 0 <= value < 1:
            raise wrong(
                ValueError, "relative_floor", f"must be a fraction of the intensity, 0 to less than 1, got {value}"
            )
    return [float(relative_floor.get(channel, 0)) for channel in channels]
