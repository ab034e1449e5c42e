"""Which times are asked for: a range, one set in each interval of it, and how far images of a set may be apart."""

from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._channels.exposures import EXPOSURES
from sunpy_demreg._channels.time_sets import closest
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_date, check_choice, check_quantity, first_few

__all__ = [
    "ALWAYS",
    "MARGIN",
    "NO_CHANNEL",
    "Times",
    "as_times",
    "as_tolerance",
    "check_tolerance",
    "in_seconds",
    "no_sets",
    "why_left",
]

NO_CHANNEL = "is no channel of AIA for a DEM"
_TOLERANCE = 12 * u.s  # the cadence of AIA
_TOLERANCE_OF_PAIRS = 15 * u.s  # of exposures that are a cadence apart, and a little more
_EVER = 1e15  # s
MARGIN = 8  # tolerances: so far beyond a range there may be images that its sets compete for


class Times(NamedTuple):
    """Times in seconds, as `unix_tai`."""

    start: float = -_EVER
    stop: float = _EVER  # the first that is not asked for
    cadence: float | None = None  # the first set of each interval of this length is taken

    def hold(self, seconds):
        """Whether a time is in the range."""
        return self.start <= seconds < self.stop

    def widened(self, tolerance):
        """The range in which images may be that matter for its sets; `tolerance` is in seconds."""
        margin = float(MARGIN * max(tolerance, 1.0))
        return self._replace(start=self.start - margin, stop=self.stop + margin)

    def chooser(self):
        """
        A function that chooses the sets that are asked for, of sets in order of time, given a part after another.

        With a cadence, a set with an image that cannot be used is taken only where an interval has no other.
        """
        last, origin, waiting = None, self.start, None

        def chosen(sets, are_last=True):
            nonlocal last, origin, waiting
            kept = []
            for each in sets:
                seconds = sum(image.seconds for image in each) / len(each)
                if not self.hold(seconds):
                    continue
                if self.cadence is not None:
                    if origin == -_EVER:  # the midnight before the first
                        day = Time(seconds, format="unix_tai").utc.isot[:10]
                        origin = float(Time(day, scale="utc").unix_tai)
                    interval = int((seconds - origin) // self.cadence)
                    if waiting and waiting[0] != interval:
                        kept.append(waiting[1])
                        last, waiting = waiting[0], None
                    if interval == last:
                        continue
                    if any(image.problem for image in each):
                        waiting = waiting or (interval, each)
                        continue
                    last, waiting = interval, None
                kept.append(each)
            if are_last and waiting:
                kept.append(waiting[1])
            return kept

        return chosen


ALWAYS = Times()


def as_times(start, stop, cadence):
    """Check the arguments of these names, each of which may be None."""
    first, last = (
        None if value is None else as_date(name, value) for name, value in (("start", start), ("stop", stop))
    )
    if first is not None and last is not None and not last > first:
        raise wrong(ValueError, "stop", f"must be later than `start`, {first.isot}, but is {last.isot}")
    if cadence is not None:
        check_quantity("cadence", cadence, u.s, "1 * u.hour", shape=())
        if not 0 < cadence < np.inf:
            raise wrong(ValueError, "cadence", f"must be positive and finite, but is {cadence}")
        cadence = float(cadence.to_value(u.s))
    ends = (-_EVER if first is None else float(first.unix_tai)), (_EVER if last is None else float(last.unix_tai))
    return Times(*ends, cadence)


def as_tolerance(tolerance, exposures):
    """Check it, or return the default for what is done with several exposures of a channel."""
    check_choice("exposures", exposures, EXPOSURES)
    if tolerance is None:
        return _TOLERANCE if exposures == "one" else _TOLERANCE_OF_PAIRS
    check_tolerance(tolerance)
    return tolerance


def check_tolerance(tolerance):
    check_quantity("tolerance", tolerance, u.s, "12 * u.s", shape=())
    if not 0 <= tolerance < np.inf:
        raise wrong(ValueError, "tolerance", f"must be finite and not negative, but is {tolerance}")


def in_seconds(duration):
    """A duration in seconds as text; long ones are in days."""
    seconds = float(duration)
    return f"{seconds / 86400:.3g} days" if seconds >= 3 * 86400 else f"{round(seconds, 2):.10g} s"


def no_sets(times, tolerance, problems):
    """
    The error that no set is whole.

    Parameters
    ----------
    times : dict of `numpy.ndarray`
        In seconds, ascending: of the usable images of each channel that a set has.
    tolerance : `~astropy.units.Quantity`
    problems : iterable of (name, problem)
    """
    problems = list(problems)
    told = first_few((f"{name}: {problem}" for name, problem in problems), "; ")
    there = {channel: times[channel] for channel in AIA_CHANNELS if len(times.get(channel, ()))}
    found = ", ".join(f"{channel} Å {len(each)}" for channel, each in there.items()) or "none"
    limit, cure = tolerance.to_value(u.s), "give the missing ones, or a longer `tolerance`"
    if found == "none":
        cure = "give images of all channels, in the range of `start` and `stop` if there is one"
    if there and len(there) == len(times) and (gap := closest(list(there.values()), len(there))) > limit:
        found += f"; the closest are {in_seconds(gap)} apart"
    if found == "none" and any(NO_CHANNEL in problem for _, problem in problems):
        cure = (
            "only those of AIA are sorted by time: of another instrument, `prepare` the maps of each time, all with "
            "one map as `reference`, and pass an `NDCubeSequence` of these cubes to `invert`"
        )
    return wrong(
        ValueError,
        "maps",
        f"hold no image of each channel within {in_seconds(limit)} of each other (found: {found}): {cure}"
        + (f"; {told}" if told else ""),
    )


def why_left(left, channels, n_channels, tolerance, or_else=""):
    """
    Why usable images are in no set, and the cure, as the end of a message; empty if there is none of them.

    Parameters
    ----------
    left : list of `Image`
    channels : iterable of `int`
        Those of all images.
    n_channels : `int`
        How many of them a set must have.
    tolerance : `~astropy.units.Quantity`
    or_else : `str`, optional
        Another cure.
    """
    times = {}
    for image in sorted((each for each in left if not each.problem), key=lambda image: image.seconds):
        times.setdefault(image.channel, []).append(image.seconds)
    times = {channel: np.array(times[channel]) for channel in channels if channel in times}
    if not times:
        return ""
    limit = tolerance.to_value(u.s)
    gap = closest(list(times.values()), n_channels)
    if gap is None:
        lacking = ", ".join(f"{channel} Å" for channel in channels if channel not in times)
        return f"; a set of these lacks {lacking}: give such images{or_else}"
    if gap <= limit:  # of which images are in other sets, with nearer ones
        return f"; those that are near enough are in other sets, with a `tolerance` of {in_seconds(limit)}"
    rule = f"the closest of these that would be a set are {in_seconds(gap)} apart, with a `tolerance` of"
    return f"; {rule} {in_seconds(limit)}: pass a longer one{or_else}"
