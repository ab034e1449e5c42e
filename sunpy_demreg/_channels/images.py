"""What `sunpy_demreg.prepare` needs of a map, of any instrument, and the checks that all maps must pass."""

from typing import NamedTuple

import numpy as np

from sunpy_demreg._channels.headers import has_date
from sunpy_demreg._channels.read_maps import wrong_map

__all__ = ["Image", "check_channel", "check_image"]


class Image(NamedTuple):
    """A map that passed its own checks, with what `sunpy_demreg.prepare` needs of it."""

    name: str
    map: object
    channel: int | str  # Å, or the name of a filter
    level: float
    exposure: float  # s
    is_rate: bool  # already divided by the exposure time
    instrument: str = "AIA"
    rate: float = 1.0  # DN / s that one in the unit of the map stands for, if that is a rate
    summed: int = 1  # how many pixels of the detector were summed into one of the map, before they were read
    noise: object = None  # `DetectorNoise`; None for AIA, whose errors come from a table
    flags: tuple | None = None  # reasons against it, and minor ones; None for AIA, whose headers have bits for them
    source: str = "AIA"  # the instrument, with its spacecraft
    facts: dict | None = None  # metadata of this channel only

    @property
    def label(self):
        """The name of the channel."""
        return f"{self.instrument} {self.channel}"

    @property
    def unit(self):
        """What follows the name of a channel in a message."""
        return " Å" if isinstance(self.channel, int) else ""

    @property
    def order(self):
        """The key to sort by: the wavelength, or for filters the largest pixels first, on which the others are put."""
        return (self.channel,) if isinstance(self.channel, int) else (-self.summed, self.channel)


def check_channel(name, instrument, channel, channels, written):
    """Raise unless a wavelength in Å is one of these; what the header has for it is told."""
    if channel == 304:
        raise wrong_map(
            ValueError, name, f"is {instrument} 304 Å, which is optically thick: no DEM can describe it, leave it out"
        )
    if channel not in channels:
        known = ", ".join(map(str, channels))
        raise wrong_map(
            ValueError, name, f"is {instrument} {written} Å, but a DEM needs channels among {known} Å: leave it out"
        )


def check_image(name, smap, exposure):
    """Raise unless a map has pixels, counts, an exposure time in s, and a date."""
    if smap.data.size == 0:
        raise wrong_map(ValueError, name, f"has no pixels (its shape is {smap.data.shape}): crop it to a larger field")
    if not 0 < exposure < np.inf:
        value = smap.meta.get("exptime")
        raise wrong_map(
            ValueError, name, f"must have a positive exposure time, but has {value}: set its keyword EXPTIME, in s"
        )
    if not has_date(smap):
        raise wrong_map(
            ValueError, name, "has no date, so that sunpy assumes the current one: set its keyword DATE-OBS"
        )
    if np.dtype(smap.data.dtype).kind not in "iuf":
        raise wrong_map(TypeError, name, f"must hold counts, as real numbers, but holds {smap.data.dtype}")
