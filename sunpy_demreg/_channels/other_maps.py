"""Maps of GOES/SUVI and Hinode/XRT: from what their headers say to counts of their detectors."""

import re

import numpy as np

import astropy.units as u

from sunpy_demreg._channels.headers import number
from sunpy_demreg._channels.images import Image, check_channel, check_image
from sunpy_demreg._channels.read_maps import wrong_map
from sunpy_demreg._channels.uncertainty import DetectorNoise
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg.response._instruments import XRT_COMBINATIONS, suvi_conversion, suvi_rate

__all__ = ["suvi_image", "xrt_image"]

_RADIANCE = u.W / u.m**2 / u.sr
_SUVI_CHANNELS = (94, 131, 171, 195, 284)
_SUVI_PIXEL, _XRT_PIXEL = 2.5, 1.0286  # arcsec, of the detector
_NEAR = 0.02  # relative, of sizes of pixels
_MOST_MISSING = 0.01  # of the pixels
_AGREED = 2  # by what factor the two conversions of radiances may differ: more is another unit
_READ_NOISE = 20  # electrons, for SUVI; that of AIA's error table, 1.15 DN, in electrons
_DIGITIZATION = 12**-0.5  # DN

# DN that a photon gives in the mean, squared responses over responses, for plasma of log T = 6.5, with the effective
# areas, spectra (CHIANTI 10, coronal) and gain of xrtpy 0.5.1 at 2014-01-01; as defined by Narukage et al. 2011, Sol.
# Phys., 269, 169. At log T = 6.2 it is smaller by up to half in thin filters, at 7.3 larger by up to half.
_XRT_DN_PER_PHOTON = {
    "Al-mesh": 3.7,
    "Al-poly": 3.8,
    "C-poly": 3.9,
    "Ti-poly": 3.9,
    "Be-thin": 4.8,
    "Be-med": 6.0,
    "Al-med": 5.9,
    "Al-thick": 6.4,
    "Be-thick": 9.0,
    "Al-poly/Al-mesh": 4.0,
    "Al-poly/Ti-poly": 4.3,
    "Al-poly/Al-thick": 6.4,
    "Al-poly/Be-thick": 9.1,
    "C-poly/Ti-poly": 4.4,
}
# DN of a pixel as it was read. Measured where the long exposure of 2015-06-21 that comes with xrtpy is faint (0.763 s,
# Al-mesh, 2 x 2 pixels): 1.9 DN with reading, digitization, compression and what is left of the background.
_XRT_NOISE = 2.0
_XRT_MISSING = -500  # DN: `xrt_prep` sets missing pixels to -999


def suvi_image(name, smap):
    """Check a map of SUVI, level 1b."""
    meta = smap.meta
    channel = number(smap, "wavelnth")
    channel = round(channel) if np.isfinite(channel) else channel
    check_channel(name, "SUVI", channel, _SUVI_CHANNELS, meta.get("wavelnth"))
    if "mrg_mthd" in meta or "suvi-l2" in str(meta.get("filename", "")).lower():
        raise wrong_map(
            ValueError,
            name,
            "is a composite of several exposures (level 2), which does not tell the exposure of a pixel, nor thus its "
            "error: pass one of its level-1b images",
        )
    written = meta.get("bunit")
    if written is not None and (smap.unit is None or not smap.unit.is_equivalent(_RADIANCE)):
        raise wrong_map(
            ValueError, name, f"is in '{written}', but level 1b of SUVI is in W m-2 sr-1: correct its keyword BUNIT"
        )
    exposure = number(smap, "exptime")
    check_image(name, smap, exposure)
    _check_pixels(name, smap, _SUVI_PIXEL, "averages are made by `bin`")
    spacecraft = re.search(r"G(?:OES)?[ _-]?(\d\d)", str(meta.get("telescop", "")).upper())
    temperature = np.mean([number(smap, "ccd_tmp1"), number(smap, "ccd_tmp2")])
    kind = re.search(r"(short_flare|short|long)", re.sub(r"\s", "", str(meta.get("sci_obj", ""))).lower())
    for keyword, found in (
        ("TELESCOP, such as 'G16'", spacecraft),
        ("CCD_TMP1 and CCD_TMP2, in °C", np.isfinite(temperature)),
        ("SCI_OBJ, which says 'long', 'short' or 'short_flare'", kind),
    ):
        if not found:
            raise wrong_map(
                ValueError,
                name,
                f"lacks {keyword}, without which radiances cannot be converted to counts: set it, or pass the "
                "original file of level 1b",
            )
    spacecraft, kind = int(spacecraft[1]), kind[1]
    try:
        rate, dn_per_photon, gain = suvi_conversion(channel, spacecraft, float(temperature), kind)
    except ValueError as err:
        raise wrong_map(ValueError, name, f"has no known response: {err}") from err
    rate = _stated_rate(name, smap, rate)
    if written is not None:
        rate *= smap.unit.to(_RADIANCE)
    reasons = []
    if np.isfinite(eclipse := number(smap, "eclipse")) and eclipse != 0:  # it may have no value
        reasons.append(f"ECLIPSE is {meta['eclipse']}")
    if (missing := number(smap, "miss_pix") / smap.data.size) > _MOST_MISSING:
        reasons.append(f"only {100 * (1 - missing):.3g} % of its pixels have values")
    return Image(
        name,
        smap,
        channel,
        1,
        exposure,
        True,
        instrument="SUVI",
        rate=rate,
        noise=DetectorNoise(dn_per_photon, float(np.hypot(_READ_NOISE / gain, _DIGITIZATION))),
        flags=(reasons, []),
        source=f"GOES-{spacecraft}/SUVI",
        facts={"ccd_temperature": float(temperature), "exposure_type": kind},
    )


def _stated_rate(name, smap, computed):
    """
    DN / s for one W m-2 sr-1 by the header, which is exactly what the radiances were made with.

    The header has a response in DN cm2 / photon and an energy per photon in J. If these give something quite different
    from the response that sunkit-instruments has, they are in other units than that, and the latter is taken.
    """
    response, energy = number(smap, "instresp"), number(smap, "phot_eng")
    if not (response > 0 and energy > 0):
        return computed
    stated = suvi_rate(response, energy)
    if max(stated / computed, computed / stated) > _AGREED:
        warn(
            DataWarning,
            f": by its keywords INSTRESP and PHOT_ENG, {name} has {stated:.3g} DN / s for one W m-2 sr-1, but by its "
            f"effective area {computed:.3g}, which is taken",
            "maps",
        )
        return computed
    return stated


def xrt_image(name, smap):
    """Check a map of XRT, level 1."""
    meta = smap.meta
    wheels = [str(meta.get(key, "")).strip().replace("_", "-").capitalize() for key in ("ec_fw1_", "ec_fw2_")]
    channel = "/".join(each for each in wheels if each and each != "Open")
    if channel not in _XRT_DN_PER_PHOTON:
        problem = "visible light" if "Gband" in channel else f"taken with the filters {' and '.join(wheels)}"
        raise wrong_map(
            ValueError,
            name,
            f"is {problem}, of which no response to the corona is known: leave it out. Known are "
            f"{', '.join(XRT_COMBINATIONS)}",
        )
    level = number(smap, "data_lev")
    if level != 1:
        cure = {
            0: "calibrate it with `xrt_prep` of SolarSoft",
            2: "it is a composite of several exposures, which does not tell the exposure of a pixel, nor thus its "
            "error: pass one of its level-1 images",
        }.get(level, "correct its keyword DATA_LEV")
        raise wrong_map(ValueError, name, f"is level {meta.get('data_lev')}, but must be level 1 of XRT: {cure}")
    exposure = number(smap, "exptime")
    check_image(name, smap, exposure)
    if smap.unit not in (u.DN, u.DN / u.s, u.DN / u.pix, u.DN / u.pix / u.s):
        raise wrong_map(
            ValueError, name, f"is in '{meta.get('bunit')}', but level 1 of XRT is in DN or DN / s: correct BUNIT"
        )
    side = number(smap, "chip_sum")
    if side not in (1, 2, 4, 8):
        raise wrong_map(
            ValueError,
            name,
            f"must say by CHIP_SUM how many pixels were summed on the detector, 1, 2, 4 or 8 on a side, but has "
            f"{meta.get('chip_sum')}: set it",
        )
    _check_pixels(name, smap, _XRT_PIXEL * side, "averages are made by `bin`, and CHIP_SUM is for sums on the chip")
    reasons, lesser = [], []
    kind = str(meta.get("ec_imty_", "normal")).strip().lower()
    if kind != "normal":
        reasons.append(f"EC_IMTY_ is {kind}")
    if str(meta.get("saa", "OUT")).strip().upper() == "IN":
        lesser.append("taken in the South Atlantic Anomaly")
    return Image(
        name,
        smap,
        channel,
        1,
        exposure,
        u.s in smap.unit.bases,
        instrument="XRT",
        summed=int(side) ** 2,
        noise=DetectorNoise(_XRT_DN_PER_PHOTON[channel], _XRT_NOISE, least=_XRT_MISSING),
        flags=(reasons, lesser),
        source="Hinode/XRT",
        facts={"chip_sum": int(side)},
    )


def _check_pixels(name, smap, size, cure):
    """Raise if pixels were added or averaged after they were read, since their error is then unknown."""
    own = float(np.sqrt(abs(smap.scale[0].value * smap.scale[1].value)))  # arcsec / pix
    if not abs(own / size - 1) < _NEAR:
        raise wrong_map(
            ValueError,
            name,
            f"has pixels of {own:.4g} arcsec, but should have {size:.4g}, and whether it holds sums or averages is not "
            f"known: pass the original map; {cure}",
        )
