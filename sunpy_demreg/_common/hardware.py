"""Cores and devices of the process."""

import os

from array_api_compat import is_cupy_array

from sunpy_demreg._common.errors import wrong

__all__ = ["available_cores", "check_same_device"]


def check_same_device(**arrays):
    """Raise if some arrays are on a GPU and others are not."""
    on_device = {name: is_cupy_array(array) for name, array in arrays.items() if array is not None}
    if len(set(on_device.values())) > 1:
        there, here = ([name for name in on_device if on_device[name] is where] for where in (True, False))
        raise wrong(
            TypeError,
            there[0],
            f"is on the GPU (CuPy) but `{'`, `'.join(here)}` on the host: move all arrays to the GPU "
            "with `cupy.asarray`, or all to the host with `.get()`",
        )


def available_cores():
    """Number of cores that the process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
