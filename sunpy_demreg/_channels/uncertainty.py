"""The uncertainty of AIA counts: the model of aiapy, with a local table."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.table import QTable, Table

from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.drms import load_drms
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.urls import file_of, local_copy
from sunpy_demreg._common.validators import a_kind, as_number, by_wavelength

__all__ = [
    "DetectorErrors",
    "DetectorNoise",
    "ErrorModel",
    "as_floors",
    "common_uncertainty",
    "read_error_table",
    "uncertainty_of_means",
]

_ERROR_TABLE = Path(__file__).parent / "data" / "aia_V3_error_table.txt"
_COLUMNS = ("WAVELNTH", "DNPERPHT", "COMPRESS", "EVEERR", "CHIANTI")  # on which the error depends


def read_error_table(error_table):
    """Read an error table from a file, the bundled one by default, without ever using the network."""
    load_drms()
    from aiapy.calibrate.utils import get_error_table

    if error_table is None:
        error_table = _ERROR_TABLE
    if isinstance(error_table, str | Path):
        file = file_of(error_table, "error_table")
        if not file.is_file():
            raise wrong(FileNotFoundError, "error_table", f": there is no file {error_table}")
        with local_copy(file) as path:
            error_table = get_error_table(path)  # as a str, "SSW" would mean a download
    if not isinstance(error_table, Table):
        raise wrong(TypeError, "error_table", f"must be a table or a file, but is {a_kind(error_table)}")
    if "WAVELNTH" not in error_table.colnames:
        raise wrong(
            ValueError, "error_table", "must be an error table of SolarSoft, but has no column WAVELNTH: leave it out"
        )
    for channel in AIA_CHANNELS:
        n_rows = np.count_nonzero(error_table["WAVELNTH"] == channel * u.AA)
        if n_rows != 1:
            raise wrong(ValueError, "error_table", f"must have one row for {channel} Å but has {n_rows}")
    return error_table[[name for name in _COLUMNS if name in error_table.colnames]]  # dates slow down selecting rows


class ErrorModel(NamedTuple):
    """The model of `aiapy.calibrate.estimate_error`, with a table."""

    table: object
    include_eve: bool
    include_chianti: bool

    def of_counts(self, counts, channel, n_sample):
        """
        Standard deviation of raw counts, in DN / pix.

        `n_sample` may be an array of the shape of `counts`, and need not be whole: it is how many independent values
        of equal variance were averaged, or would have to be for the same variance.
        """
        load_drms()
        from aiapy.calibrate import estimate_error

        return estimate_error(
            np.clip(counts, 0, None) << u.DN / u.pix,
            channel * u.AA,
            n_sample=n_sample,
            include_eve=self.include_eve,
            include_chianti=self.include_chianti,
            error_table=self.table,
        ).to_value(u.DN / u.pix)

    def noise(self, channel):
        """What the noise of counts depends on: DN per photon, and by how much that of the compression is smaller."""
        [row] = self.table[self.table["WAVELNTH"] == channel * u.AA]
        return float(u.Quantity(row["DNPERPHT"]).value), float(row["COMPRESS"])

    def common(self, channel):
        """What averaging does not reduce: the error at zero counts, in DN / pix, and a fraction of the counts."""
        dark, one = self.of_counts(np.array([0.0, 1.0]), channel, np.inf)
        return float(dark), float(np.sqrt(one**2 - dark**2))


class DetectorNoise(NamedTuple):
    """Noise of a detector that has no error table: photons, and reading."""

    dn_per_photon: float
    reading: float  # DN, of a pixel as it was read, with all else that does not depend on the signal
    least: float = -np.inf  # DN: values below are missing pixels


class DetectorErrors(NamedTuple):
    """As `ErrorModel`, from the noise of the detector alone: nothing of it is common to pixels."""

    of_channel: dict  # of DetectorNoise

    def of_counts(self, counts, channel, n_sample):
        """Standard deviation of raw counts, in DN / pix."""
        noise = self.of_channel[channel]
        variance = noise.dn_per_photon * np.clip(counts, 0, None) + noise.reading**2
        return np.sqrt(variance / n_sample)

    def common(self, channel):
        """What averaging does not reduce."""
        return 0.0, 0.0


def common_uncertainty(cube, intensity=None):
    """
    Part of the uncertainty that pixels have in common, which averaging over them does not reduce.

    It comes from the dark level, the calibration and the atomic data, as far as they are included; the rest is the
    noise of photons, reading, digitizing and compression, independent between pixels unless they were
    interpolated. So the mean of N pixels of uncertainty ``s`` has the variance
    ``sum(s**2 - common_uncertainty(cube)**2) / N**2 + common_uncertainty(cube, mean)**2``, and a floor comes after it.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        From `sunpy_demreg.prepare` or `sunpy_demreg.prepare_series`, or a part of one.
    intensity : array, optional
        The intensities to compute it for, such as means over pixels, in the unit of the cube: axes of channels and of
        times as in the cube, and any others behind them. By default those of the cube.

    Returns
    -------
    array
        Standard deviation in the unit of the cube, of the shape of `intensity`, and like it NumPy's or Dask's.

    Notes
    -----
    For deconvolved images, the uncertainty of the calibration is taken as the same fraction of the intensity; but the
    uncertainty of the cube contains that fraction of the counts before deconvolution.
    """
    names = ("common_error", "common_relative_error")
    missing = [name for name in names if name not in cube.meta]
    if missing:
        raise wrong(
            ValueError,
            "data",
            f"does not tell which part of its uncertainty pixels have in common: its `meta` has no {missing[0]!r}, "
            "which `sunpy_demreg.prepare` gives; if pixels have nothing in common, set both to zeros, one per channel",
        )
    intensity = cube.data if intensity is None else intensity
    parts = [u.Quantity(cube.meta[names[0]]).to_value(cube.unit), cube.meta[names[1]]]
    if np.ndim(cube.meta.get("calibration_error")):  # of the cube of a result, in its uncertainty
        parts.append([error or 0.0 for error in cube.meta["calibration_error"]])
    parts = (np.asarray(part, dtype=float) for part in parts)
    constant, *fractions = (part.reshape(part.shape + (1,) * (np.ndim(intensity) - part.ndim)) for part in parts)
    return np.sqrt(constant**2 + sum(fraction**2 for fraction in fractions) * np.maximum(intensity, 0) ** 2)


def uncertainty_of_means(cube, means, squares, n_averaged, noise):
    """
    Uncertainty of means over pixels: noise averages out, what pixels have in common does not, and a floor comes last.

    Of cubes of `sunpy_demreg.prepare` it is that of the mean counts, as for ``bin``; of others, it follows from the
    uncertainties of the pixels.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        (channel, ...), with the metadata of `sunpy_demreg.prepare`.
    means : array
        (channel, ..., region), in the unit of the cube.
    squares : array
        Of the same shape: sum of the squared weights that independent pixels of the maps have in the mean.
    n_averaged : number
        How many pixels of AIA were averaged into one of the maps, where that is known.
    noise : array
        Of the same shape: variance of the mean if all uncertainties are independent, less the common parts.
    """
    common = common_uncertainty(cube, means)
    variance = noise + common**2
    exposures = np.asarray(cube.meta.get("n_exposures", np.ones(len(means))), dtype=float)
    names = ("dn_per_photon", "compression_ratio", "channels")
    parameters = [cube.meta.get(name) for name in names]
    if n_averaged is not None and all(np.shape(each) == (len(means),) for each in parameters):
        for i, (dn_per_photon, compression, label) in enumerate(zip(*parameters, strict=True)):
            channel = int(str(label).removeprefix("AIA "))
            row = {"WAVELNTH": [channel] * u.AA, "DNPERPHT": [dn_per_photon] * u.DN / u.ph, "COMPRESS": [compression]}
            model = ErrorModel(QTable(row), include_eve=False, include_chianti=False)
            dark, _ = model.common(channel)
            constant = np.asarray(u.Quantity(cube.meta["common_error"][i]).to_value(cube.unit), dtype=float)
            per_count = constant.reshape(constant.shape + (1,) * (means[i].ndim - constant.ndim)) / dark
            of_counts = model.of_counts(means[i] / per_count, channel, n_averaged / squares[i])
            # Of a sum of exposures, `per_count` is that of their mean.
            n = exposures[i].reshape(exposures[i].shape + (1,) * (means[i].ndim - exposures[i].ndim))
            variance[i] = (of_counts**2 - dark**2) * per_count**2 / n + common[i] ** 2
    floor = np.asarray(cube.meta.get("relative_floor", np.zeros(len(means))), dtype=float)
    return np.fmax(np.sqrt(variance), floor.reshape((-1,) + (1,) * (means.ndim - 1)) * np.abs(means))


def _by_channel(name, given, channels, instrument, rule):
    """A dict by the names of channels, or by wavelengths, as one by what `Image` calls a channel."""
    if isinstance(channels[0], int):
        others = [key for key in given if isinstance(key, str) and key.startswith("AIA ") and instrument != "AIA"]
        if others:
            raise wrong(ValueError, name, f"names {', '.join(others)}, but the maps are of {instrument}")
        plain = {key.removeprefix("SUVI ") if isinstance(key, str) else key: value for key, value in given.items()}
        return by_wavelength(name, plain, rule)
    if not all(isinstance(key, str) for key in given):
        rule = "must be one number, or a dict of one for each filter, such as {'XRT Be-thin': 0.1}"
        raise wrong(TypeError, name, f"{rule}, but is {given!r:.80}")
    return {key.removeprefix(f"{instrument} "): value for key, value in given.items()}


def as_floors(relative_floor, channels, instrument="AIA"):
    """Least relative error of each channel, from one number for all or a dict by channel."""
    name, rule = "relative_floor", "must be one number, or a dict of one for each channel, such as {171: 0.1}"
    if not isinstance(relative_floor, Mapping):
        relative_floor = dict.fromkeys(channels, relative_floor)
    else:
        relative_floor = _by_channel(name, relative_floor, channels, instrument, rule)
        unknown = [f"{key} Å" if isinstance(key, int) else key for key in relative_floor if key not in channels]
        if unknown:
            raise wrong(ValueError, name, f"names {', '.join(unknown)}, but there is no such map")
    try:
        of = "(a fraction of the intensity)"
        floors = {key: as_number(name, value, least=0, below=1, of=of) for key, value in relative_floor.items()}
    except TypeError as err:
        raise wrong(TypeError, name, f"{rule} (fractions of the intensity), but is not ({err})") from None
    return [floors.get(channel, 0.0) for channel in channels]
