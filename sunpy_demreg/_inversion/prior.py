"""What ``method="lognormal"`` takes for likely before it sees the data."""

from __future__ import annotations

from dataclasses import dataclass

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, as_number, check_quantity

__all__ = ["LogNormalPrior", "as_prior"]


@dataclass(frozen=True)
class LogNormalPrior:
    r"""
    The prior of ``method="lognormal"``: how freely the logarithm of the DEM varies with temperature.

    Parameters
    ----------
    amplitude : `float`, optional
        Standard deviation :math:`\sigma_p` of the natural logarithm of the emission measure per dex about its mean, up
        to 100. A smaller one keeps the DEM nearer to its first approximation.
    correlation_length : `float` or `astropy.units.Quantity`, optional
        Distance :math:`\ell` in :math:`\log_{10} T` over which the logarithm stays correlated, 0.05 to 10 dex; a number
        is in dex. A longer one gives a smoother DEM. It is kept as a number.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a number in this range, or has another unit than dex.

    Notes
    -----
    The logarithm :math:`s` of the emission measure per dex is a Gaussian process whose mean is an approximation
    without a prior, smoothed over 0.25 dex, and whose covariance is that of Matérn, :math:`\sigma_p^2 (1 + r)
    e^{-r}` with :math:`r = \sqrt 3\, |\Delta \log_{10} T| / \ell`, plus a constant that leaves the total free.
    The defaults were chosen by the error of synthetic DEMs of several kinds, others than those that the validation
    shows.

    Examples
    --------
    >>> import astropy.units as u
    >>> from sunpy_demreg import LogNormalPrior
    >>> LogNormalPrior()
    LogNormalPrior(amplitude=4.0, correlation_length=0.8)
    >>> smoother = LogNormalPrior(correlation_length=1.2 * u.dex)
    >>> smoother.correlation_length
    1.2

    It is passed as ``invert(cube, response, edges, method="lognormal", prior=smoother)``.
    """

    amplitude: float = 4.0
    correlation_length: float | u.Quantity = 0.8

    def __post_init__(self) -> None:
        length = self.correlation_length
        if isinstance(length, u.Quantity):
            check_quantity("correlation_length", length, u.dex, "0.8 * u.dex", shape=())
            length = length.to_value(u.dex)
        amplitude = as_number("amplitude", self.amplitude, above=0, most=100)
        length = as_number("correlation_length", length, least=0.05, most=10, of="of dex")
        object.__setattr__(self, "amplitude", amplitude)
        object.__setattr__(self, "correlation_length", length)


def as_prior(prior):
    """The prior, by default that with the parameters' own defaults."""
    if prior is None:
        return LogNormalPrior()
    if not isinstance(prior, LogNormalPrior):
        raise wrong(
            TypeError,
            "prior",
            "must be a `LogNormalPrior`, such as `LogNormalPrior(amplitude=4, correlation_length=0.8)`, but is "
            f"{a_kind(prior)}",
        )
    return prior
