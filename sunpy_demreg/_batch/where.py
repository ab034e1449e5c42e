"""Where the steps of a batch are computed: on threads of this process, or by workers of a Dask cluster."""

import multiprocessing
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager

from sunpy_demreg._batch.claims import growing_pauses
from sunpy_demreg._batch.work import work_apart
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.hardware import available_cores

__all__ = ["check_can_start", "computed", "connected"]

_GUARD = "in a script, the call must stand under `if __name__ == '__main__':`"
_CONNECT = 5  # seconds that a scheduler has to answer
_END = object()


def computed(tasks, work, workers, client):
    """
    Compute steps, a few at a time.

    Parameters
    ----------
    tasks : iterable of Task or None
        Taken only as fast as they can be computed; None says that there is nothing to do at the moment.
    work : Work
    workers : `int` or None
    client : `distributed.Client` or None
        If neither is given, threads of this process.

    Yields
    ------
    Task, counts or None, float, exception or None
        As each step ends: the counts of its statuses, the seconds it took.
    list of (type, `str`)
        Warnings that were given elsewhere.
    """
    tasks, is_more, running = iter(tasks), True, {}
    with ExitStack() as stack:
        submit, n_at_once, pauses = None, 1, growing_pauses()
        while is_more or running:
            is_idle = False
            while is_more and not is_idle and len(running) < n_at_once:
                task = next(tasks, _END)
                is_more, is_idle = task is not _END, task is None
                if is_more and not is_idle:
                    pauses = growing_pauses()
                    if submit is None:  # now that there is something to do
                        submit, n_at_once = stack.enter_context(_submitter(work, workers, client))
                    running[submit(task)] = task, time.perf_counter()
            # Until it is looked again whether there is something to do.
            pause = next(pauses) if is_idle else None
            if not running:
                time.sleep(pause or 0)
                continue
            for future in wait(running, pause, FIRST_COMPLETED).done:
                task, start = running.pop(future)
                seconds, error = time.perf_counter() - start, future.exception()
                counts, warned = future.result() if error is None else (None, [])
                yield task, counts, seconds, error, warned


@contextmanager
def _submitter(work, workers, client):
    """A function that computes a step and returns a future, and how many steps to run at once."""
    if workers is None and client is None:
        # Two steps at once: while one reads its headers or writes its last blocks, the other has work for the threads.
        pool, drivers = ThreadPoolExecutor(available_cores()), ThreadPoolExecutor(2)

        def here(task):
            return work.done(task, scheduler="threads", pool=pool), []

        try:
            yield lambda task: drivers.submit(here, task), 2
        finally:
            for each in (pool, drivers):
                each.shutdown(cancel_futures=True)
        return
    with ExitStack() as stack:
        if client is None:
            distributed = _distributed("workers")
            # One thread each: the global interpreter lock then does not matter.
            options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
            try:
                cluster = stack.enter_context(distributed.LocalCluster(**options))
            except RuntimeError as err:
                raise wrong(RuntimeError, "workers", f"cannot be started ({err}): {_GUARD}") from err
            client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        n_at_once = max(sum(client.nthreads().values()), 1) + 1
        drivers = ThreadPoolExecutor(n_at_once)
        # A task, unlike scattered data, is computed again where its worker dies.
        shared = client.submit(_same, work, pure=False)
        try:
            yield (
                lambda task: drivers.submit(lambda: client.submit(work_apart, shared, task, pure=False).result()),
                n_at_once,
            )
        finally:
            client.close()  # ends the waiting of the drivers
            drivers.shutdown(cancel_futures=True)


def _same(value):
    return value


def check_can_start():
    """Raise unless worker processes can be started from here."""
    # A spawned process runs the script again and must not start a batch itself: it would wait forever.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise wrong(RuntimeError, "workers", f"are processes, which read this script again: {_GUARD}")
    _distributed("workers")


def _distributed(argument):
    try:
        import distributed
    except ImportError as err:
        raise wrong(
            ImportError,
            argument,
            f"needs the package distributed: pip install 'sunpy-demreg[batch]'; without it, all cores "
            f"are used by threads: leave `{argument}` out",
        ) from err
    return distributed


def connected(scheduler):
    """A client of a running scheduler."""
    distributed = _distributed("scheduler")
    try:
        return distributed.Client(scheduler, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as err:
        raise wrong(
            ConnectionError,
            "scheduler",
            f"{scheduler!r}: no scheduler answers at this address within {_CONNECT} s ({err}); start one "
            "with `dask scheduler`, which prints its address",
        ) from err
