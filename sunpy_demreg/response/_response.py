"""The temperature responses of a set of channels, whatever instrument they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

import astropy.units as u

__all__ = ["TemperatureResponse"]


@dataclass(frozen=True, eq=False, repr=False)
class TemperatureResponse:
    """
    Temperature responses of one or more channels, on one grid of temperatures.

    Usually made with `from_aia`, or with `from_arrays` for other instruments. All arguments are validated;
    the arrays are copied and cannot be written to.

    Parameters
    ----------
    channels : sequence of `str`
        Label of each channel, such as ``"AIA 171"``. All different.
    temperature : `~astropy.units.Quantity`
        At least two temperatures, in units of temperature, strictly increasing.
    response : `~astropy.units.Quantity`
        Response of each channel at each temperature, shape (channels, temperatures); for AIA in
        DN cm5 / (pix s). Finite, and positive somewhere in each channel.
    meta : `dict`, optional
        Where the response comes from. An entry that is a `dict` with one key per channel follows the
        channels in `select`.

    Raises
    ------
    TypeError
        If ``temperature`` or ``response`` has no unit, or ``channels`` or ``meta`` is of the wrong type.
    ValueError
        If shapes do not agree or values break the rules above.
    """

    channels: tuple
    temperature: u.Quantity
    response: u.Quantity
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        channels = _validated_channels(self.channels)
        temperature = _in_kelvin(self.temperature, "temperature")
        response = self.response
        if not isinstance(response, u.Quantity):
            raise TypeError(
                f"`response` must be a Quantity, but is a {type(response).__name__}: attach its unit, "
                "for instance `response * u.Unit('DN cm5 / (pix s)')`"
            )
        if not isinstance(self.meta, Mapping):
            raise TypeError(f"`meta` must be a dict, but is a {type(self.meta).__name__}")
        if temperature.ndim != 1 or temperature.size < 2:
            raise ValueError(
                f"`temperature` must be a one-dimensional array of two or more nodes, but has the shape "
                f"{temperature.shape}"
            )
        if not (np.isfinite(temperature).all() and temperature[0] > 0 and (np.diff(temperature) > 0).all()):
            raise ValueError("`temperature` must be finite, positive and strictly increasing: sort the nodes")
        if response.shape != (len(channels), temperature.size):
            raise ValueError(
                f"`response` must have the shape (channels, temperatures), here "
                f"{(len(channels), temperature.size)}, but has {response.shape}"
            )
        if not np.isfinite(response).all():
            raise ValueError("`response` must be finite: remove the temperatures where it is not known")
        empty = [c for c, positive in zip(channels, (response.value > 0).any(axis=1), strict=True) if not positive]
        if empty:
            raise ValueError(f"`response` must be positive at some temperature, but never is for {', '.join(empty)}")
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "temperature", _read_only(temperature * u.K))
        object.__setattr__(self, "response", _read_only(response))
        object.__setattr__(self, "meta", dict(self.meta))

    @classmethod
    def from_arrays(cls, channels, temperature, response, meta=None):
        """
        Make a response of tabulated values.

        Parameters
        ----------
        channels, temperature, response, meta
            As of the class, which also says what must hold for them.

        Returns
        -------
        TemperatureResponse

        Raises
        ------
        TypeError, ValueError
            As the class does.

        Examples
        --------
        >>> import astropy.units as u
        >>> from sunpy_demreg import TemperatureResponse
        >>> TemperatureResponse.from_arrays(
        ...     ["soft", "hard"], [1, 3, 10] * u.MK, [[2, 9, 1], [0, 4, 8]] * u.Unit("1e-27 DN cm5 / (pix s)")
        ... ).channels
        ('soft', 'hard')
        """
        return cls(channels, temperature, response, {} if meta is None else meta)

    @classmethod
    def from_aia(
        cls,
        cube_or_channels,
        obstime=None,
        *,
        eve=True,
        crosstalk=True,
        degradation=True,
        correction_table=None,
    ):
        """
        Compute the responses of AIA channels, without any download.

        The wavelength response of `aiapy.response.Channel`, from the instrument components of SolarSoft that
        are bundled, is folded with the bundled spectrum of CHIANTI 9.0.1 (coronal abundances of Feldman 1992,
        constant pressure of 1e15 K cm-3), per unit of the emission measure of electrons and hydrogen.

        Parameters
        ----------
        cube_or_channels : `ndcube.NDCube` or `~astropy.units.Quantity`
            A channel cube, see `sunpy_demreg.prepare`, or the wavelengths of EUV channels: 94, 131, 171, 193,
            211, 304 or 335 Å, as a Quantity or a list of them.
        obstime : `astropy.time.Time` or any date that `sunpy.time.parse_time` reads, optional
            Date whose degradation the response is to have, not to be given with ``degradation=False``. By default
            the mean date of the cube, and for bare channels none: the response is then that of the launch.
        eve : `bool`, optional
            Normalize the effective areas to the spectra of SDO/EVE. The same factors at all dates, from 0.955
            (94 Å) to 1.630 (304 Å).
        crosstalk : `bool`, optional
            Include the light that 94 and 304 Å, and 131 and 335 Å, get of each other. It is up to 93 % of
            the response at 335 Å, at log T = 7.1.
        degradation : `bool`, optional
            Whether the response degrades with time as the instrument does. Pass `False` for data corrected for
            degradation.
        correction_table : path or `astropy.table.Table`, optional
            Response table of SolarSoft that gives the normalization to EVE and the degradation: a file, or what
            `aiapy.calibrate.utils.get_correction_table` returns. By default the bundled table V10.

        Returns
        -------
        TemperatureResponse
            Channels named ``"AIA 94"`` and so on in the order given, at log T = 4, 4.05 ... 9, in
            DN cm5 / (pix s).

        Raises
        ------
        TypeError
            If the channels have no unit, or ``correction_table`` is neither a path nor a table.
        ValueError
            If a channel is not an EUV channel of AIA, ``obstime`` is not one date or lies outside the table, or
            the table cannot be used; if ``obstime`` is given with ``degradation=False``; and if the cube is
            already corrected for degradation while the response is to be degraded: correct the data or date the
            response, never both.

        Warns
        -----
        sunpy.util.exceptions.SunpyUserWarning
            If the date is later than the bundled table.

        Notes
        -----
        Normalized to EVE or not, it equals the response of SolarSoft's V10 within 5e-5 from log T = 5 to 8 in
        all channels. Of that, 3.4e-5 is the rounded value of hc in SolarSoft.

        The bundled table is V10 as of October 2020. Its factors are constant after 2020-06-01. Compared with
        them, those of the older V8 of December 2017 are off, in the six channels of a DEM, by up to 10 % at
        2011-02-15 (94 Å), 19 % at 2014-01-01 (335 Å) and 49 % at 2020-01-01 (211 Å, and 48 % at 193 Å); that of
        304 Å is off by 91 % at the last of these dates.

        References
        ----------
        Boerner et al. 2012, Sol. Phys., 275, 41; Boerner et al. 2014, Sol. Phys., 289, 2377.
        """
        from sunpy_demreg.response._aia import aia_response

        return cls(
            **aia_response(
                cube_or_channels,
                obstime,
                eve=eve,
                crosstalk=crosstalk,
                degradation=degradation,
                correction_table=correction_table,
            )
        )

    def at(self, centers):
        """
        Interpolate the response, linearly in log temperature and log response.

        Parameters
        ----------
        centers : `~astropy.units.Quantity`
            Temperatures within the tabulated range, in any order and shape.

        Returns
        -------
        `~astropy.units.Quantity`
            Shape (channels, *shape of centers*), in the unit of `response`.

        Raises
        ------
        TypeError
            If ``centers`` has no unit.
        ValueError
            If any of ``centers`` is not a temperature within the tabulated range.

        Notes
        -----
        Values that are not positive are replaced by the smallest positive one of their channel, as the Python
        DEMREG does. Between nodes 0.05 dex apart the interpolation errs by up to 30 % where a response is
        steep: prefer centers on nodes.
        """
        nodes = np.log10(self.temperature.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_centers = np.log10(_in_kelvin(centers, "centers"))
        # Centers are means of edges: one that is an end of the range but for rounding belongs to it.
        if not ((log_centers >= nodes[0] - 1e-9) & (log_centers <= nodes[-1] + 1e-9)).all():
            raise ValueError(
                f"`centers` must lie between the first and the last temperature of the response, "
                f"{self.temperature[0]:.4g} and {self.temperature[-1]:.4g}, but are {centers}"
            )
        interpolated = []
        for row in self.response.value:
            positive = np.where(row > 0, row, row[row > 0].min())
            interpolated.append(np.exp(np.interp(log_centers, nodes, np.log(positive))))
        return np.array(interpolated) * self.response.unit

    def select(self, channels):
        """
        Choose channels.

        Parameters
        ----------
        channels : sequence of `str`
            Labels of the channels to keep, in the order that they are to have.

        Returns
        -------
        TemperatureResponse

        Raises
        ------
        ValueError
            If the response has no such channel, or one is named twice.
        """
        channels = _validated_channels(channels)
        unknown = [c for c in channels if c not in self.channels]
        if unknown:
            raise ValueError(
                f"`channels` names {', '.join(unknown)}, but the response has only {', '.join(self.channels)}"
            )
        meta = {
            key: {c: value[c] for c in channels} if _is_per_channel(value, self.channels) else value
            for key, value in self.meta.items()
        }
        rows = [self.channels.index(c) for c in channels]
        return TemperatureResponse(channels, self.temperature, self.response[rows], meta)

    def __repr__(self):
        logt = np.log10(self.temperature.value)
        per_channel = {
            key: value
            for key, value in self.meta.items()
            if _is_per_channel(value, self.channels) and all(isinstance(v, Real) for v in value.values())
        }
        lines = [
            f"<TemperatureResponse: {len(self.channels)} channels at {logt.size} temperatures, "
            f"log T [K] = {logt[0]:.2f} to {logt[-1]:.2f}>",
            "  ".join(f"{name:>12}" for name in ("channel", "peak", "at log T", *per_channel)),
        ]
        for channel, row in zip(self.channels, self.response.value, strict=True):
            factors = (f"{v[channel]:>12.4g}" for v in per_channel.values())
            peak = row.argmax()
            lines.append("  ".join((f"{channel:>12}", f"{row[peak]:>12.3e}", f"{logt[peak]:>12.2f}", *factors)))
        lines.append(f"unit: {self.response.unit}")
        for key, value in self.meta.items():
            if key not in per_channel:
                lines.append(f"{key}: {'none' if value is None else value}")
        return "\n".join(lines)


def _validated_channels(channels):
    channels = (channels,) if isinstance(channels, str) else tuple(channels)
    if not (channels and all(isinstance(c, str) for c in channels)):
        raise TypeError(f"`channels` must be one or more labels such as 'AIA 171', but is {channels}")
    if len(set(channels)) < len(channels):
        raise ValueError(f"`channels` must all be different, but are {', '.join(channels)}")
    return tuple(str(c) for c in channels)  # of NumPy strings, plain ones


def _in_kelvin(temperature, name):
    if not isinstance(temperature, u.Quantity):
        raise TypeError(
            f"`{name}` must be a Quantity, but is a {type(temperature).__name__}: attach the unit, "
            "for instance `10**logt * u.K`"
        )
    try:
        return temperature.to_value(u.K)
    except u.UnitConversionError as err:
        raise ValueError(f"`{name}` must be in units of temperature (K), but is in {temperature.unit}") from err


def _read_only(quantity):
    quantity = u.Quantity(quantity, dtype=float, copy=True)
    quantity.setflags(write=False)
    return quantity


def _is_per_channel(value, channels):
    return isinstance(value, Mapping) and set(value) == set(channels)
