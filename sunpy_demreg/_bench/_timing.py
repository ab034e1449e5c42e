"""Taking turns with the clock, and what a set of times comes to."""

import gc
import time

import numpy as np

__all__ = ["alternate", "chi_squared_summary", "many_times", "ratios", "summary"]


def alternate(calls, n_rounds, budget=float("inf")):
    """
    Time calls in turns, so that whatever else the machine does hits all of them.

    Parameters
    ----------
    calls : dict of callable
    n_rounds : int
        Every other round goes backwards, so that nobody always follows the same one.
    budget : float
        Seconds; a call that would need more sits out further rounds.

    Returns
    -------
    dict of list of float
        The seconds of each round.
    dict
        The last answers.
    """
    seconds, answers = {name: [] for name in calls}, {}
    for i in range(n_rounds):
        for name in list(calls) if i % 2 == 0 else reversed(calls):
            so_far = seconds[name]
            if so_far and sum(so_far) + so_far[-1] > budget:
                continue
            answers.pop(name, None)
            gc.collect()
            start = time.perf_counter()
            answers[name] = calls[name]()
            so_far.append(time.perf_counter() - start)
    return seconds, answers


def many_times(call, seconds):
    """The times of a short call, over and over for that long, in seconds."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def summary(seconds, n_pixels):
    """Median and spread, in microseconds per pixel."""
    per_pixel = 1e6 * np.array(seconds) / n_pixels
    quarter, half, three = np.percentile(per_pixel, (25, 50, 75)).tolist()
    return {
        "n_pixels": n_pixels,
        "n_runs": len(seconds),
        "seconds": float(np.median(seconds)),
        "us_per_pixel": half,
        "us_quartile_1": quarter,
        "us_quartile_3": three,
        "us_least": float(per_pixel.min()),
        "us_most": float(per_pixel.max()),
    }


def ratios(seconds, others):
    """Median of the ratios of times per pixel, others to ours, of the rounds that both were in."""
    return float(np.median([b / a for a, b in zip(seconds, others, strict=False)]))


def chi_squared_summary(values):
    """Quartiles and 95th percentile, and how many pixels have none."""
    good = values[np.isfinite(values)]
    quarter, half, three, high = np.percentile(good, (25, 50, 75, 95)).tolist()
    return {
        "chi2_quartile_1": quarter,
        "chi2_median": half,
        "chi2_quartile_3": three,
        "chi2_95": high,
        "n_unsolved": int(values.size - good.size),
    }
