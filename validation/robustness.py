"""Other noise, uncertainties that are wrong, other channels: means over the families of what `accuracy` measures."""

import numpy as np

from validation.accuracy import available, means, run, summary
from validation.families import FAMILIES, draw
from validation.instruments import INSTRUMENTS, instrument, intensity_in
from validation.measures import coverage
from validation.methods import MAIN, PRIORS
from validation.setting import em_in_bins, intensity_of, observe, observe_relative, response

__all__ = ["NOISE", "WRONG", "channels", "noise_levels", "priors", "wrong_uncertainties"]

NOISE = (0.001, 0.01, 0.05, 0.2)  # of each intensity
WRONG = (0.5, 1.0, 2.0)  # what the inversion is told, over the true uncertainty
_SHARE, _OF_MEDIAN = 0.05, 0.01  # noise of other instruments: of the intensity, and of its median over the cases


def _over_families(number, methods, observed, its_response, seed):
    """What `accuracy.accuracy` reports of each family, in means; `observed` makes observations of a truth in cells."""
    truths, observations = [], []
    for i, name in enumerate(FAMILIES):
        rng = np.random.default_rng([seed, i])
        em = draw(name, number, rng)
        truths.append(em_in_bins(em))
        observations.append(observed(em, rng))
    # In one call: with many channels it takes as long for a few pixels as for many.
    intensity, sigma = (np.concatenate(each, axis=1) for each in zip(*observations, strict=True))
    cases, departures = run(intensity, sigma, np.concatenate(truths, axis=1), available(methods), its_response)
    summaries = {
        name: {m: summary(_part(of, i * number, number)) for m, of in cases.items()} for i, name in enumerate(FAMILIES)
    }
    shares = {m: {kind: coverage(values) for kind, values in of.items()} for m, of in departures.items()}
    return {method: of | {"coverage": shares[method]} for method, of in means(summaries).items()}


def _part(cases, first, number):
    return {name: values[first : first + number] for name, values in cases.items()}


def noise_levels(number, levels=NOISE, methods=MAIN, seed=21):
    """By the noise of each intensity, and nothing else, as a share of it: means by method."""

    def with_noise(level):
        return lambda em, rng: observe_relative(intensity_of(em), rng, level)

    return {f"{level:g}": _over_families(number, methods, with_noise(level), response(), seed) for level in levels}


def wrong_uncertainties(number, factors=WRONG, methods=MAIN, seed=22):
    """By the factor between the uncertainty that the inversion is told and the true one: means by method."""

    def told(factor):
        def observed(em, rng):
            intensity, sigma = observe(intensity_of(em), rng)
            return intensity, factor * sigma

        return observed

    return {f"{factor:g}": _over_families(number, methods, told(factor), response(), seed) for factor in factors}


def channels(number, instruments=tuple(INSTRUMENTS), methods=MAIN, seed=23):
    """By the channels: means by method."""

    def seen_in(name):
        def observed(em, rng):
            intensity = intensity_in(name, em)
            sigma = np.hypot(_SHARE * intensity, _OF_MEDIAN * np.median(intensity, axis=1, keepdims=True))
            return intensity + sigma * rng.standard_normal(intensity.shape), sigma

        return observed

    return {name: _over_families(number, methods, seen_in(name), instrument(name)[0], seed) for name in instruments}


def priors(number, names=tuple(PRIORS), seed=24):
    """Of the log-normal method with other priors: means by prior."""
    return _over_families(number, names, lambda em, rng: observe(intensity_of(em), rng), response(), seed)
