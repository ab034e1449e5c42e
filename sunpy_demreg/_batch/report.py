"""What a batch returns: the outcome of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from sunpy_demreg._common.dates import from_microseconds

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["BatchReport", "Outcomes", "Step"]

_OUTCOMES = (None, "done", "kept", "failed")


class Step(NamedTuple):
    """
    The outcome of one time step, in the report of `batch_invert`.

    Examples
    --------
    >>> from astropy.time import Time
    >>> from sunpy_demreg import Step
    >>> step = Step(0, Time("2014-01-01T00:00:00"), "done", seconds=1.5)
    >>> step.outcome, step.time.isot
    ('done', '2014-01-01T00:00:00.000')
    """

    #: From zero, in the order of time.
    number: int
    #: Of the step.
    time: Time
    #: ``"kept"`` from an earlier run.
    outcome: Literal["done", "kept", "failed"]
    #: Of a failure, or the channels that the step was done without.
    reason: str | None = None
    #: How long it took.
    seconds: float = 0.0


class BatchReport(NamedTuple):
    """
    The outcome of a batch: what `batch_invert` returns.

    Examples
    --------
    >>> from astropy.time import Time
    >>> from sunpy_demreg import BatchReport, Step
    >>> report = BatchReport([Step(0, Time("2014-01-01"), "failed", "a truncated file")], [])
    >>> report.is_complete, report.counts
    (False, {'done': 0, 'kept': 0, 'failed': 1})
    >>> [step.reason for step in report.failed]
    ['a truncated file']
    """

    #: The time steps of the batch, or of its part.
    steps: Sequence[Step]
    #: The files that are in no time step, and why.
    left_over: list[tuple[str, str]]

    @property
    def counts(self) -> dict[str, int]:
        """How many steps are ``"done"``, ``"kept"`` and ``"failed"``."""
        return {outcome: self._outcomes().count(outcome) for outcome in _OUTCOMES[1:]}

    @property
    def failed(self) -> list[Step]:
        """The steps that failed."""
        return [self.steps[i] for i, outcome in enumerate(self._outcomes()) if outcome == "failed"]

    def _outcomes(self):
        # Without building each `Step`, with its time.
        return self.steps.outcomes() if isinstance(self.steps, Outcomes) else [step.outcome for step in self.steps]

    @property
    def is_complete(self) -> bool:
        """Whether no step failed and every file could be read."""
        return not self.counts["failed"] and not any(
            reason.startswith("cannot be read") for _, reason in self.left_over
        )


class Outcomes(Sequence):
    """
    The steps of a report, in few bytes each.

    Parameters
    ----------
    start, stop : `int`
        Numbers of the steps.
    """

    def __init__(self, start, stop):
        self._start, n = start, stop - start
        self._times, self._outcomes = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint8)
        self._seconds, self._reasons = np.zeros(n, dtype=np.float32), {}

    def set(self, number, microseconds, outcome, reason=None, seconds=0.0):
        """Note the outcome of a step."""
        i = number - self._start
        self._times[i], self._outcomes[i], self._seconds[i] = microseconds, _OUTCOMES.index(outcome), seconds
        if reason is not None:
            self._reasons[i] = reason

    def outcomes(self):
        """Those of all steps, in a list."""
        return [_OUTCOMES[i] for i in self._outcomes.tolist()]

    def __len__(self):
        return len(self._times)

    def __getitem__(self, item):
        if isinstance(item, slice):
            return [self[i] for i in range(*item.indices(len(self)))]
        i = range(len(self))[item]
        return Step(
            self._start + i,
            from_microseconds(self._times[i]),
            _OUTCOMES[self._outcomes[i]],
            self._reasons.get(i),
            float(self._seconds[i]),
        )

    def __repr__(self):
        return repr(list(self))
