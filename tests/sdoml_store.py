"""A small store in the layout of SDOMLv2, made of synoptic images as the program of its makers does it."""

import numpy as np
import zarr
from scipy.ndimage import map_coordinates

SIDE = 1024


def scaled(image, radius, divisor, side):
    """An image of the store, from a synoptic one."""
    scale, center = 976 / radius, SIDE / 2
    places = center + (np.arange(SIDE) - center) / scale
    places = np.meshgrid(places, places, indexing="ij")

    def moved(values):
        return map_coordinates(values, places, order=1, mode="nearest")

    is_valid = image > 0
    mean = moved(np.where(is_valid, image, 0.0)) / (moved(is_valid.astype(float)) + 1e-8) / divisor
    return mean.reshape(side, SIDE // side, side, SIDE // side).mean(axis=(1, 3)).astype("float32")


def whole(smap, factor=1.0, **more):
    """The synoptic image that a map was cut out of, with nothing around it, and its header."""
    x, y = (round(512.5 - smap.meta[key]) for key in ("crpix1", "crpix2"))
    image = np.zeros((SIDE, SIDE))
    image[y : y + smap.data.shape[0], x : x + smap.data.shape[1]] = smap.data * factor
    header = {key: value for key, value in smap.meta.items() if key not in ("keycomments", "simple", "bitpix")}
    return image, header | {"naxis1": SIDE, "naxis2": SIDE, "crpix1": 512.5, "crpix2": 512.5} | more


def write_sdoml(store, images, degradation, side=512):
    """
    Write a store.

    Parameters
    ----------
    store : str, path or Zarr store
    images : dict
        For each year and channel, a list of (image, header), in any order.
    degradation : dict
        Of each channel.
    """
    root = zarr.create_group(store, zarr_format=2)
    factor = SIDE // side
    for (year, channel), pairs in images.items():
        group = root.require_group(str(year))
        headers = [header for _, header in pairs]
        divisors = [max(header["exptime"], 1e-2) * degradation[channel] for header in headers]
        values = [
            scaled(image, header["rsun_obs"], divisor, side)
            for (image, header), divisor in zip(pairs, divisors, strict=True)
        ]
        array = group.create_array(f"{channel}A", data=np.array(values), chunks=(15, side, side))
        attributes = {key.upper(): [header.get(key) for header in headers] for key in headers[0]}
        radius = np.array([header["rsun_obs"] for header in headers])
        for axis in "12":
            attributes[f"NAXIS{axis}"] = [side] * len(headers)
            attributes[f"CDELT{axis}"] = (np.array(attributes[f"CDELT{axis}"]) * factor * radius / 976).tolist()
            attributes[f"CRPIX{axis}"] = (np.array(attributes[f"CRPIX{axis}"]) / factor).tolist()
        attributes["DEG_COR"] = [degradation[channel]] * len(headers)
        attributes["PIXLUNIT"] = ["DN/s"] * len(headers)
        array.attrs.update(attributes)
    return store
