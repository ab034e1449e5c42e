"""All steps of a batch, or a part of them: each is done by the one process that claims it."""

import errno
import warnings
from collections import Counter
from contextlib import closing
from itertools import batched

from sunpy_demreg._batch.report import Outcomes
from sunpy_demreg._batch.where import computed
from sunpy_demreg._common.errors import first_line, wrong
from sunpy_demreg._common.validators import a_kind
from sunpy_demreg._results.unsolved import warn_of_unsolved

__all__ = ["as_part", "part_of", "reason_of", "run"]

_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # nothing more can be written, for any step
_AT_ONCE = 64  # steps that are looked up: whether they were done is known once more when they are claimed
_TWICE = "also done by another process, which took this one for dead: written twice, with the same values"


def as_part(part):
    """The argument `part` as (k, n), with 1 <= k <= n."""
    if part is None:
        return 1, 1
    rule = "must be two whole numbers, such as (3, 16) for the third of sixteen parts"
    is_pair = isinstance(part, tuple | list) and len(part) == 2
    if not is_pair or any(isinstance(k, bool) or not hasattr(k, "__index__") for k in part):
        raise wrong(TypeError, "part", f"{rule}, but is {part!r}" if is_pair else f"{rule}, but is {a_kind(part)}")
    k, n = (each.__index__() for each in part)
    if not 1 <= k <= n:
        raise wrong(ValueError, "part", f"{rule}, from (1, n) to (n, n), but is ({k}, {n})")
    return k, n


def part_of(n_steps, part):
    """The numbers of the steps of a part."""
    k, n = part
    return range((k - 1) * n_steps // n, k * n_steps // n)


def run(numbers, work, steps, archive, claims, workers, client, on_step):
    """
    Do steps that are not done, and wait for those that other processes do.

    Parameters
    ----------
    numbers : range
        Of the steps.
    work, steps, archive, claims
        A Work, Steps, Archive and Claims.
    workers, client
        As of `computed`.
    on_step : callable or None
        As of `sunpy_demreg.batch_invert`.

    Returns
    -------
    Outcomes
    """
    outcomes, counts, about = Outcomes(numbers.start, numbers.stop), Counter(), {}

    def finish(number, microseconds, *outcome):
        outcomes.set(number, microseconds, *outcome)
        if on_step is not None:
            on_step(len(outcomes), outcomes[number - numbers.start])

    def tasks():
        rows = steps.facts(numbers.start, numbers.stop)
        while rows:
            elsewhere = []
            for row, was_done in _with_done(rows, archive):
                number, slot, microseconds, lacks, problem = row
                if was_done:
                    finish(number, microseconds, "kept")
                    continue
                if problem:
                    finish(number, microseconds, "failed", problem)
                    continue
                is_mine, is_inherited = claims.take(_name(slot))
                if not is_mine:
                    elsewhere.append(row)
                elif archive.is_done(slot):  # by the process that has released it
                    claims.release(_name(slot))
                    finish(number, microseconds, "kept")
                else:
                    if is_inherited:
                        archive.clear(slot)
                    about[number] = microseconds, lacks
                    yield steps.task(number)
            if elsewhere:
                yield None
            rows = elsewhere

    with closing(computed(tasks(), work, workers, client)) as results:
        for task, each, seconds, error, warned in results:
            microseconds, lacks = about.pop(task.number)
            for category, text in warned:
                warnings.warn(text, category, stacklevel=4)
            if error is None:
                is_mine = claims.is_mine(_name(task.slot))
                archive.mark_done(task.slot)
                claims.release(_name(task.slot))
                counts += each
                reason = "; ".join(text for text in (lacks, None if is_mine else _TWICE) if text)
                finish(task.number, microseconds, "done", reason or None, seconds)
            elif isinstance(error, OSError) and error.errno in _NO_MORE:
                raise error
            else:
                claims.release(_name(task.slot))
                finish(task.number, microseconds, "failed", reason_of(error), seconds)
    warn_of_unsolved(counts)
    return outcomes


def _with_done(rows, archive):
    for some in batched(rows, _AT_ONCE):
        yield from zip(some, archive.were_done([slot for _, slot, *_ in some]), strict=True)


def _name(slot):
    return f"step-{slot}"


def reason_of(err):
    """Why a step failed."""
    return f"{type(err).__name__}: {first_line(err)}"
