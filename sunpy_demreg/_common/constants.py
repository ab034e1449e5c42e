"""Channels of AIA, units, and colors."""

import astropy.units as u

__all__ = [
    "AIA_CHANNELS",
    "AIA_EUV_CHANNELS",
    "COLORS",
    "DEM_UNIT",
    "EMISSIVITY_UNIT",
    "EM_UNIT",
    "RESPONSE_UNIT",
    "channel_styles",
]

#: In Å. That of 304 Å is optically thick: a DEM is made of the others.
AIA_EUV_CHANNELS = (94, 131, 171, 193, 211, 304, 335)
AIA_CHANNELS = tuple(channel for channel in AIA_EUV_CHANNELS if channel != 304)

EM_UNIT = u.cm**-5
DEM_UNIT = EM_UNIT / u.K
RESPONSE_UNIT = u.Unit("DN cm5 / (pix s)")
EMISSIVITY_UNIT = u.Unit("photon cm3 / (s sr Angstrom)")

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe & Ito, colorblind safe
_DASHES = ("-", "--", "-.", ":")


def channel_styles(channels):
    """
    Color and line style of each channel, by its name: a channel looks the same in every plot.

    Those of AIA have a color each; others get them in turn, with another line style where a color is taken.
    """
    of_aia = {f"AIA {channel}": color for channel, color in zip(AIA_CHANNELS, COLORS, strict=False)}
    styles, n_others = [], 0
    for channel in channels:
        color = of_aia.get(channel)
        if color is None:
            color = COLORS[n_others % len(COLORS)]
            n_others += 1
        n_before = sum(style["color"] == color for style in styles)
        styles.append({"color": color, "linestyle": _DASHES[n_before % len(_DASHES)]})
    return styles
