"""How far the batch of a store is."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sunpy_demreg._batch.claims import claims_in
from sunpy_demreg._batch.create import CLAIMS, NOT_STORED, is_begun, no_store
from sunpy_demreg._common.dates import from_microseconds
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.urls import Url
from sunpy_demreg._common.validators import as_path
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg._files.zarr_lengths import as_it_was
from sunpy_demreg._files.zarr_read import latest_steps

if TYPE_CHECKING:
    from astropy.time import Time

    from sunpy_demreg._common.typing import FilePath

_CURE = "pass the .zarr folder that `batch_invert` writes"

__all__ = ["BatchStatus", "Claim", "batch_status"]


class Claim(NamedTuple):
    """
    A time step that a process works on: at which machine, and how many seconds ago it was seen.

    In a store at a URL that is by the clocks of that machine and of this one.
    """

    time: Time
    host: str
    seconds: float


class BatchStatus(NamedTuple):
    """
    How far a batch is: what `batch_status` returns.

    Examples
    --------
    >>> from sunpy_demreg import BatchStatus
    >>> BatchStatus(n_steps=120, n_done=118, in_progress=()).is_complete
    False
    """

    #: Time steps that are known.
    n_steps: int
    #: Those that are done.
    n_done: int
    #: Those that a process works on: their time, at which machine, and how many seconds ago it was seen.
    in_progress: list[Claim]

    @property
    def is_complete(self) -> bool:
        """Whether all steps that are known are done."""
        return 0 < self.n_steps == self.n_done


def batch_status(path: FilePath) -> BatchStatus:
    """
    Tell how far the batch of a store is, also while others write it.

    Parameters
    ----------
    path : path-like or URL
        Of the store, or of a copy of it.

    Returns
    -------
    `BatchStatus`
        The numbers of time steps that are known and that are done, and those in progress. There are none yet as long as
        the first process looks at the files. Steps that failed count as not done.

    Raises
    ------
    FileNotFoundError
        If there is no such store.
    ValueError
        If it is not the store of a batch, or damaged.
    OSError
        If it cannot be read; of a URL, ConnectionError or PermissionError.

    Examples
    --------
    >>> import sunpy_demreg as demreg
    >>> status = demreg.batch_status("dem.zarr")  # doctest: +SKIP
    >>> f"{status.n_done} of {status.n_steps}, {len(status.in_progress)} in progress"  # doctest: +SKIP
    '7341 of 7440, 16 in progress'
    """
    path = as_path("path", path)
    imported("zarr", "`batch_status`", "batch")
    if not path.exists():
        raise wrong(FileNotFoundError, "path", f": there is no store {path}")
    if not isinstance(path, Url) and not path.is_dir():
        raise no_store(path, "it is a file, and a store is a folder", _CURE)
    if is_begun(path):
        return BatchStatus(0, 0, [])
    try:
        with path.reached() if isinstance(path, Url) else nullcontext():
            group = as_it_was(documents.open_store(path), path)
            n_steps = group["step_done"].shape[0]
            times = group["time"][:n_steps]
            done = group["step_done"][:]
            # What is not done counts only if nothing was tried later, and nothing better is done.
            last = latest_steps(group, np.arange(n_steps), by_images=False)
            steps = latest_steps(group, np.union1d(last, np.flatnonzero(done)))
            done = done[steps]
    except NOT_STORED as err:
        raise no_store(path, err, _CURE) from err
    claims = []
    for name, (host, seconds) in claims_in(path / documents.BOOKKEEPING / CLAIMS).items():
        kind, _, slot = name.partition("-")
        if kind == "step" and int(slot) < n_steps:
            claims.append(Claim(from_microseconds(times[int(slot)]), host.partition("/")[0], seconds))
    return BatchStatus(steps.size, int(np.count_nonzero(done)), sorted(claims, key=lambda claim: claim.time))
