"""
What is known about data and about a response, and whether the two match.

The sensitivity of AIA changes over the years. Either the data or the response must account for that: data are divided
by the sensitivity that is left at their date (`sunpy_demreg.prepare` with ``correct_degradation``), or the response is
that of their date. Different dates are fine as long as the sensitivity is the same: differences are judged by
sensitivity, not by days. How that of other instruments, such as XRT, changes is not known here: they are judged by
days.
"""

import re
from dataclasses import dataclass
from numbers import Real

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._common.dates import known_dates
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.warnings import ResponseWarning, warn

__all__ = ["HARMLESS", "Provenance", "check_pair", "sensitivity_change"]

HARMLESS = 0.01  # relative, of the sensitivity in any channel: below all errors of the calibration
_LARGE = 0.1  # anything larger must be a mistake
_SAME_DATE = 1 * u.day  # in which no channel changes by more than that
_MAX_DAYS = 25  # that a series is judged by: each takes 10 ms
_SAME_MONTH = 30 * u.day  # for instruments whose change is not known here
_INSTRUMENTS = {"AIA": "AIA", "XRT": "XRT", "SUVI": "SUVI|Solar Ultraviolet Imager"}


@dataclass(frozen=True)
class Provenance:
    """
    What is known about one channel of data, or of a response; None if unknown.

    The unit of both is checked where it is converted, and the quality of images where maps become a cube.
    """

    channel: str
    instrument: str | None = None
    dates: Time | None = None  # of the images, any number; of a response, the one of its degradation
    has_degradation: bool | None = None  # data as they were taken; a response of a date. Else both are as at launch.
    degradation: float | None = None  # remaining sensitivity, according to the response
    exposure_normalized: bool | None = None

    @property
    def wavelength(self):
        """Wavelength of a channel of AIA, in Å; None for other instruments, about which nothing is known here."""
        match = re.fullmatch(r"AIA (\d+)", self.channel)
        return int(match[1]) if match else None

    @property
    def kind(self):
        """Which of the known instruments it is; None for any other, or if unknown."""
        text = str(self.instrument or "")
        kinds = [kind for kind, pattern in _INSTRUMENTS.items() if re.search(rf"\b({pattern})(\b|_)", text, re.I)]
        return kinds[0] if len(kinds) == 1 else None

    @property
    def spacecraft(self):
        """The number of a GOES satellite."""
        match = re.search(r"\bG(?:OES)?[ _-]?(\d\d)\b", str(self.instrument or ""), re.I)
        return int(match[1]) if match else None

    @classmethod
    def of_data(cls, channels, meta):
        """The provenance of the channels of a cube, from its metadata."""

        def part(key, i):
            value = meta.get(key)
            return value[i] if np.shape(value)[:1] == (len(channels),) else value

        facts = []
        for i, channel in enumerate(channels):
            date, corrected = part("date", i), part("degradation_corrected", i)
            if isinstance(date, list | np.ndarray):  # of a series
                date = [each for each in date if each is not None] or None
            facts.append(
                cls(
                    channel,
                    part("instrument", i),
                    None if date is None else known_dates(_time(date, "data", "date"))[0],
                    None if corrected is None else not corrected,
                    exposure_normalized=part("exposure_normalized", i),
                )
            )
        return facts

    @classmethod
    def of_response(cls, response):
        """The provenance of the channels of a response, from its metadata."""
        facts = []
        for channel in response.channels:
            known = {}
            for key in ("instrument", "obstime", "degradation"):
                value = response.meta.get(key)
                is_per_channel = isinstance(value, dict) and set(value) == set(response.channels)
                known[key] = value[channel] if is_per_channel else value
            date, factor = known["obstime"], known["degradation"]
            is_told = "degradation" in response.meta or date is not None
            has_degradation = (date is not None or factor is not None) if is_told else None
            date = None if date is None else _time(date, "response", "obstime")
            factor = float(factor) if isinstance(factor, Real) and 0 < factor < np.inf else None
            facts.append(cls(channel, known["instrument"], date, has_degradation, factor))
        return facts


def check_pair(channels, meta, response):
    """
    Check that data and response match.

    Parameters
    ----------
    channels : tuple of `str`
        Of the data, which are those of the response, in the same order.
    meta : `dict`
        Metadata of the data. For bare arrays it is empty, and nothing is checked.
    response : `sunpy_demreg.TemperatureResponse`

    Raises
    ------
    ValueError
        If they are of different instruments or spacecraft, or the data are not divided by their exposure time; if both
        account for degradation, or the sensitivity differs by more than 10 % in some channel of AIA.

    Warns
    -----
    ResponseWarning
        If it differs by more than 1 %, or probably neither accounts for it; or if the response of another instrument
        has a date more than 30 days from that of the data.
    """
    if not meta:
        return
    pairs = list(zip(Provenance.of_data(channels, meta), Provenance.of_response(response), strict=True))
    _check_instruments(pairs)
    counts = [data.channel for data, _ in pairs if data.exposure_normalized is False]
    if counts:
        raise wrong(
            ValueError,
            "data",
            f"are not divided by their exposure time (`meta['exposure_normalized']` is False for {', '.join(counts)}), "
            "but a response is per second: divide them, or correct the entry",
        )
    aia = [(data, table) for data, table in pairs if data.wavelength is not None]
    texts = [_degradation_problem(aia), _date_problem([pair for pair in pairs if pair not in aia])]
    if any(texts):
        warn(ResponseWarning, "; and ".join(filter(None, texts)), "response")


def _check_instruments(pairs):
    """Raise if the instruments of both sides are known and differ."""
    for data, table in pairs:
        for what, own, other in (("", data.kind, table.kind), ("GOES-", data.spacecraft, table.spacecraft)):
            if None not in (own, other) and own != other:
                raise wrong(
                    ValueError,
                    "response",
                    f"is of {what}{other}, but `data` are of {what}{own} ({data.channel}; `meta['instrument']` of "
                    f"both, {table.instrument!r} and {data.instrument!r}): make the response of the instrument that "
                    "took the data, or correct the entry",
                )


def _date_problem(pairs):
    """What is wrong with the dates of responses for which nothing else is known."""
    for data, table in pairs:
        if data.dates is not None and table.dates is not None:
            days = np.max(np.abs((data.dates - table.dates).to_value(u.day)))
            if days > _SAME_MONTH.value:
                years = f"{days / 365.25:.1f} years" if days > 365 else f"{days:.0f} days"
                cure = "`TemperatureResponse.from_xrt(filters, obstime)`" if table.kind == "XRT" else "a response"
                return (
                    f"of {data.channel} is that of {table.dates[0].utc.isot[:10]}, but `data` are of "
                    f"{_span(data.dates)}, {years} apart, in which the sensitivity may change by factors: take {cure} "
                    "of their date"
                )
    return None


def _degradation_problem(pairs):
    """What is wrong with the degradation of channels of AIA; raises if that is certain."""
    twice = [data.channel for data, table in pairs if data.has_degradation is False and table.has_degradation]
    if twice:
        raise wrong(
            ValueError,
            "response",
            f"has the degradation of its date, but `data` are corrected for degradation ({', '.join(twice)}): make it "
            "with `TemperatureResponse.from_aia(cube)`, which leaves it out of corrected data. Correct the data or "
            "date the response, never both",
        )
    worst, error = None, HARMLESS
    for data, table in pairs:
        is_unknown = table.has_degradation and table.dates is None and table.degradation is None
        if data.dates is None or data.has_degradation is False or is_unknown:
            continue
        deviation = _deviation(data, table)
        if not deviation <= error:  # also if it is not known
            worst, error = (data, table), deviation
            if np.isnan(deviation):
                break
    if worst is None:
        return None
    data, table = worst
    is_dated = bool(table.has_degradation)
    is_certain = data.has_degradation is not None and table.has_degradation is not None
    if not (is_dated or is_certain) and error <= _LARGE:
        return None
    text = _words(data, table, error)
    if is_certain and error > _LARGE:
        raise wrong(ValueError, "response", text)
    return text


def sensitivity_change(channels, dates, correction_table=None):
    """
    How much the sensitivity of any channel changes over its dates, relative to the least; NaN if it is not known.

    Parameters
    ----------
    channels : sequence of `str`
        Of AIA; others do not count.
    dates : `~astropy.time.Time`
        (channels, any number).
    """
    change = 0.0
    for channel, own in zip(channels, dates, strict=True):
        wavelength = Provenance(channel).wavelength
        if wavelength is not None and own.max() - own.min() > _SAME_DATE:
            factors = _sensitivities(wavelength, own, correction_table)
            change = max(change, factors.max() / factors.min() - 1)
    return change


def _deviation(data, table):
    """The largest relative difference between the sensitivity of a response and those of the data."""
    is_dated = table.has_degradation and table.dates is not None
    if is_dated and np.all(abs(data.dates - table.dates) <= _SAME_DATE):
        return 0.0
    of_data, of_table = _sensitivities(data.wavelength, data.dates), 1.0
    if table.has_degradation:  # better than what the bundled table would give
        of_table = table.degradation or _sensitivities(data.wavelength, table.dates)
    return float(np.max(np.exp(np.abs(np.log(of_data / of_table))) - 1))


def _sensitivities(wavelength, dates, correction_table=None):
    """The remaining sensitivity of a channel over dates, on some of their days; NaN beyond the table."""
    from sunpy_demreg.response._aia import degradation_factors

    days = np.unique(np.floor(dates.utc.mjd)) + 0.5
    days = days[np.unique(np.linspace(0, days.size - 1, _MAX_DAYS).round().astype(int))]
    days = Time(days, format="mjd", scale="utc")
    try:
        return np.array(degradation_factors([wavelength] * days.size, days, correction_table, warns=False))
    except ValueError:
        return np.array([np.nan])


def _time(value, name, key):
    from sunpy.time import parse_time

    try:
        return parse_time(value).ravel()
    except (TypeError, ValueError) as err:
        problem = f": `meta[{key!r}]` must be a date, such as '2014-01-01T00:00:00', but is {value!r}"
        raise wrong(ValueError, name, problem) from err


def _span(dates):
    """The days of dates, in words."""
    first, last = dates.min().utc.isot[:10], dates.max().utc.isot[:10]
    return first if first == last else f"{first} to {last}"


def _words(data, table, error):
    """The message: what is wrong, by how much, and the cure."""
    of_data = _span(data.dates)
    size = "an unknown factor" if np.isnan(error) else f"{error:.0%}" if error < 1 else f"a factor of {1 + error:.1f}"
    if table.has_degradation and table.dates is None:
        what = f"has {table.degradation:.2f} of the initial sensitivity, but `data` are of {of_data}"
    elif table.has_degradation:
        what = f"is that of {table.dates[0].utc.isot[:10]}, but `data` are of {of_data}"
    elif table.has_degradation is None:
        what = f"has no known date, and `data`, of {of_data}, are not corrected for degradation"
    elif data.has_degradation is None:
        what = f"is that at launch, and `data`, of {of_data}, do not say whether they are corrected for degradation"
    else:
        what = f"is that at launch, but `data`, of {of_data}, are not corrected for degradation"
    cures = ["make it with `TemperatureResponse.from_aia(cube)`, at the date of the data"]
    if " to " in of_data and not sensitivity_change([data.channel], data.dates[None]) <= HARMLESS:
        cures = []
    cures.append(
        f"{'or ' if cures else ''}prepare the data with `correct_degradation=True`, and pass `from_aia` the new cube"
    )
    if table.has_degradation is None:
        cures.append("or set its date, `response.meta['obstime'] = '2014-01-01'`")
    if data.has_degradation is None:
        cures.append("or, if the data are corrected, set `cube.meta['degradation_corrected'] = True`")
    return f"{what}: the sensitivity of {data.channel} differs by {size}; {'; '.join(cures)}"
