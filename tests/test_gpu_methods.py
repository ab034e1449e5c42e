"""The log-normal method, and pixels that lack channels, on a GPU: answers and statuses are those of the CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lazy_cubes import lazily
from synthetic import instrument, pixels, run

from sunpy_demreg import Status, invert
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.algorithm import lognormal
from sunpy_demreg._engines.base.options import STANDARD_OUTPUTS, Options
from sunpy_demreg._engines.base.solution import Solution

OUTPUTS = (*STANDARD_OUTPUTS, "emission_measure", "emission_measure_uncertainty")
METHODS = {
    "demreg": Options(outputs=OUTPUTS),
    "lognormal": Options(method="lognormal", parameter_choice="prior", dem_error="posterior", outputs=OUTPUTS),
    "lognormal, discrepancy": Options(method="lognormal", outputs=OUTPUTS),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*pixels were not solved")


def mixed(n_bins=24, n_pixels=420, most_missing=1):
    """
    Pixels with all channels, pixels that lack some of them, or too many, and noise below zero.

    Where a channel is saturated it is a lower limit, which some solutions contradict.
    """
    K, dlogt, logt = instrument(6, n_bins)
    g, sigma = pixels(K, logt, n_pixels, noise=0.1)
    mask, saturated = np.zeros(g.shape, bool), np.zeros(g.shape, bool)
    sigma[0, ::5] = np.abs(g[0, ::5])
    g[0, ::5] *= -0.3
    g[2, 1::7], sigma[4, 2::9], mask[3, 3::11] = np.nan, -1.0, True
    saturated[1, 4::13] = mask[1, 4::13] = True
    g[1, 4::26] *= 100
    mask[5, 7::21] = True  # some of these are the second
    mask[:5, 10::35] = True
    status, omitted = execute.examine(g, sigma, mask, saturated, most_missing=most_missing)
    assert len(np.unique(omitted)) > 5 * most_missing
    functional = np.arange(float(n_bins))[None] * K.max(axis=0)
    return (g, sigma, status, K, dlogt, logt), {"omitted": omitted, "saturated": saturated, "functional": functional}


def there(given, more):
    """The same arrays on the device."""
    import cupy

    arrays = {name: cupy.asarray(more[name]) for name in ("omitted", "saturated")}
    return (*(cupy.asarray(a) for a in given[:3]), *given[3:]), more | arrays


def on_gpu(given, options, more, **others):
    """Solved, and brought here."""
    solution = run(*given, options, **more, **others, backend="cupy")
    return Solution(*(a.get() if hasattr(a, "get") else a for a in solution))


#: Of a search for lam that goes to and fro, rounding decides where it ends.
TOLERANCE = {"demreg": 1e-9, "lognormal": 1e-9, "lognormal, discrepancy": 1e-6}


def assert_close(ours, truth, tolerance):
    np.testing.assert_array_equal(ours.status, truth.status)
    solved = np.isfinite(truth.chi_squared)
    for name, a, b in zip(truth._fields[:-1], ours, truth, strict=False):
        if b is None:
            continue
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        a, b = (each[..., solved] for each in (a, b))
        scale = np.max(np.abs(b), axis=tuple(range(b.ndim - 1)), initial=1.0 if name == "chi_squared" else 1e-300)
        difference = np.abs(a - b) / scale
        if name == "temperature_resolution":  # a sample on half the maximum, to rounding, is on either side
            assert np.mean(difference > 1e-9) < 1e-3
        else:
            assert np.max(difference) < tolerance, name


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize(("method", "most_missing"), [*((name, 1) for name in METHODS), ("lognormal", 2)])
def test_mixed_pixels(anywhere, where, method, most_missing):
    given, more = mixed(most_missing=most_missing)
    options = METHODS[method]
    truth = run(*given, options, **more)
    remarks = Status.MISSING_CHANNEL, Status.NONPOSITIVE_INTENSITY, Status.SATURATION_CONTRADICTED
    for bit in (*remarks, Status.MASKED):
        assert np.any(truth.status & int(bit)), bit
    if where == "device":
        given, more = there(given, more)
    assert_close(on_gpu(given, options, more), truth, TOLERANCE[method])


@pytest.mark.parametrize("where", ["host", "device"])
def test_mixed_pixels_that_do_not_converge(anywhere, where, monkeypatch, tmp_path):
    """Of which some lack channels: all get the constrained emission measure."""
    from sunpy_demreg._engines.cpu.engine import _tested
    from sunpy_demreg._engines.gpu.launcher import _compiled

    monkeypatch.setattr(lognormal, "_MAX_PASSES", 6)
    monkeypatch.setenv("SUNPY_DEMREG_CACHE", str(tmp_path / "cache"))
    given, more = mixed()
    options = METHODS["lognormal"]
    try:
        _tested.cache_clear()
        _compiled.cache_clear()
        truth = run(*given, options, **more)
        if where == "device":
            given, more = there(given, more)
        ours = on_gpu(given, options, more)
    finally:
        _tested.cache_clear()
        _compiled.cache_clear()
    is_stuck = truth.status & int(Status.NOT_CONVERGED) != 0
    assert 20 < is_stuck.sum() < 400
    assert np.any(is_stuck & (truth.status & int(Status.MISSING_CHANNEL) != 0))
    assert_close(ours, truth, TOLERANCE["lognormal"])


def test_pixel_by_a_block_of_threads(anywhere):
    """With so many bins that the other form of the second kernel serves."""
    given, more = mixed(n_bins=140, n_pixels=120)
    options = METHODS["lognormal"]
    truth = run(*given, options, **more, dtype="float32")
    assert_close(on_gpu(given, options, more, dtype="float32"), truth, 1e-6)


def test_two_streams_at_once(anywhere):
    """One with each method, of pixels that lack channels."""
    import cupy

    names = "demreg", "lognormal"
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in names]

    def solve_on(stream, name):
        with stream:
            given, more = there(*mixed())
            return [on_gpu(given, METHODS[name], more) for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(solve_on, streams, names))
    given, more = mixed()
    for answers, name in zip(found, names, strict=True):
        truth = run(*given, METHODS[name], **more)
        for answer in answers:
            assert_close(answer, truth, TOLERANCE[name])


@pytest.fixture(scope="module")
def troubled(cube):
    """A corner of the bundled maps, with missing channels and noise below zero."""
    some = cube[:, 20:44, 60:90]
    data, mask, sigma = some.data.copy(), some.mask.copy(), some.uncertainty.array.copy()
    data[2, ::5, ::3], mask[1, 1::7, 1::4], data[0:3, 4, 4] = np.nan, True, np.nan
    sigma[0, 2::9, ::5] = data[0, 2::9, ::5]
    data[0, 2::9, ::5] *= -0.5
    uncertainty = type(some.uncertainty)(sigma)
    return type(some)(data, some.wcs, unit=some.unit, mask=mask, uncertainty=uncertainty, meta=some.meta)


@pytest.mark.parametrize("where", ["host", "device", "blocks"])
@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_whole_call(anywhere, troubled, response, edges, where, method):
    """Of cubes: every pixel, every output; and with the memory of the result before, where it can be used again."""
    import cupy

    options = {"method": method, "emission_measure_ranges": edges[[4, 20]][None]}
    truth = invert(troubled, response, edges, **options)
    given = troubled
    if where == "blocks":
        given = lazily(troubled, (6, 10, 30))
    elif where == "device":
        sigma = type(troubled.uncertainty)(cupy.asarray(troubled.uncertainty.array), copy=False)
        data, mask = cupy.asarray(troubled.data), cupy.asarray(troubled.mask)
        given = type(troubled)(data, troubled.wcs, unit=troubled.unit, mask=mask, uncertainty=sigma, meta=troubled.meta)
    ours = invert(given, response, edges, backend="cupy", **options)
    if where != "blocks":
        ours = invert(given, response, edges, backend="cupy", out=ours, **options)
    assert set(ours) == set(truth)
    counts = truth.meta["status_counts"]
    assert {"MISSING_CHANNEL", "NONPOSITIVE_INTENSITY", "NOT_FINITE"} <= counts.keys()

    def found(array):
        return array.compute() if where == "blocks" else array.get() if hasattr(array, "get") else array

    for key, cube in truth.items():
        b, a = cube.data, found(ours[key].data)
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=key)
            continue
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=key)
        least = 1.0 if key == "chi_squared" else 1e-300
        scale = np.nanmax(np.abs(b.reshape(-1, *troubled.shape[1:])), axis=0, initial=least)
        difference = np.nan_to_num(np.abs(a - b) / scale)
        if key == "temperature_resolution":
            assert np.mean(difference > 1e-9) < 1e-3
        else:
            assert difference.max() < TOLERANCE[method], key
    error = found(ours["dem"].uncertainty.array)
    np.testing.assert_allclose(error, truth["dem"].uncertainty.array, rtol=1e-6)
