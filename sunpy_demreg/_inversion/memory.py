"""Available memory, and how much of it an inversion may use."""

import math
from pathlib import Path

import psutil

import astropy.units as u

from sunpy_demreg._common.validators import as_number

__all__ = ["as_memory_limit", "available_memory"]

_FRACTION = 0.8  # of what is available: the rest is for the caller, and for what the estimate misses
_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
# For both versions of cgroups: limit, usage, and the part of it that caches files.
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_memory():
    """Bytes that this process can still allocate, also inside a container or a batch job."""
    return max(min(psutil.virtual_memory().available, *_left_in_groups()), 0)


def _left_in_groups():
    """Bytes left below each limit of the control groups of this process."""
    yield math.inf
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:  # not on this system
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in {"", "memory"}.intersection(controllers.split(",")):
            # A container sees its own group as the root, whatever its path.
            own = _CGROUPS / controller / path.lstrip("/")
            for group in (own, *own.parents):
                left = _left_in(group, *_FILES[controller])
                if left is not None:
                    yield left
                if group == _CGROUPS / controller:
                    break


def _left_in(group, limit, usage, cache):
    """Bytes left below the limit of one group; None if it has none."""
    try:
        most, used = (int((group / name).read_text()) for name in (limit, usage))
        # Cached files of the group are dropped when memory is needed.
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return most - used + int(facts.get(cache, 0))
    except (OSError, ValueError):  # "max", or no such group
        return None


def as_memory_limit(memory_limit):
    """The argument of `sunpy_demreg.invert` in bytes."""
    if memory_limit is None:
        return int(_FRACTION * available_memory())
    if isinstance(memory_limit, u.Quantity) and memory_limit.unit.is_equivalent(u.byte) and memory_limit.isscalar:
        memory_limit = memory_limit.to_value(u.byte)
    return int(as_number("memory_limit", memory_limit, above=0, of="of bytes (or a Quantity: `4 * u.Gbyte`)"))
