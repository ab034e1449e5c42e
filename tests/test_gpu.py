"""The GPU engine through a stand-in for CuPy, whose kernels run on the processor at hand: launches, streams, errors."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fake_cupy
import numpy as np
import pytest
from synthetic import instrument, make_problem, pixels, run, solve

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution


@pytest.fixture
def device(monkeypatch):
    with fake_cupy.installed(monkeypatch) as state:
        yield state


@pytest.fixture
def batches(device, monkeypatch):
    """Small ones; so many pixels are in each that is launched."""
    from sunpy_demreg._engines.gpu import batches as gpu_batches

    monkeypatch.setattr(gpu_batches, "_SMALL_PART", 384)
    monkeypatch.setattr(gpu_batches, "_LEAST_PIXELS", 64)
    return gpu_batches


@pytest.fixture(scope="module")
def problem():
    """Pixels, some of them bad and some difficult, and their answer on the CPU."""
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 3000)
    g[1, ::7], sigma[2, 5::11], g[0, 3::13] = -1, np.nan, np.inf
    sigma[2, 1::50] *= 1e-6
    sigma[:, 2::40] = 1e3 * np.abs(g[:, 2::40])
    g, sigma = (a.reshape(4, 30, 100) for a in (g, sigma))
    with np.errstate(all="ignore"):
        status = execute.classify(g, sigma)
        return g, sigma, status, K, dlogt, logt, Options()


def _grids(device, name):
    return [grid for kernel, grid, _ in device.log if kernel == name]


def assert_close(ours, truth, tolerance=1e-9):
    np.testing.assert_array_equal(ours.status, truth.status)
    for name, a, b in zip(truth._fields[:-1], ours, truth, strict=False):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
            scale = np.nanmax(np.abs(b), axis=tuple(range(b.ndim - 2)), initial=1e-3)
            difference = np.abs(a - b) / scale
            if name == "temperature_resolution":
                assert np.nanmean(difference > 1e-9) < 1e-3
            else:
                assert np.nanmax(difference) < tolerance, name


def test_host_arrays_go_through_in_batches(batches, device, problem):
    before = [a.copy() for a in problem[:3]]
    ours = run(*problem, backend="cupy")
    assert_close(ours, run(*problem, backend="cpu"))
    for array, copy in zip(problem, before, strict=False):
        np.testing.assert_array_equal(array, copy)
    assert {int(bit) for bit in (Status.NONPOSITIVE_INTENSITY, Status.NO_SIGNAL)} <= set(ours.status.ravel().tolist())
    names, _, streams = zip(*device.log, strict=True)
    assert names == ("solve", "errors") * 8  # of 384 pixels and the rest
    assert streams[::2] == streams[1::2]
    assert [streams[::2].index(stream) for stream in streams[::2]] == [0, 1, 2, 0, 1, 2, 0, 1]  # on three in turn
    assert device.default_stream not in streams


def test_memory_is_bounded_by_what_is_free(batches, device, problem):
    device.total = 300_000
    ours = run(*problem, backend="cupy")
    assert_close(ours, run(*problem, backend="cpu"))
    assert len(device.log) > 2 * 8
    assert device.largest_use < 300_000


def test_batch_that_finds_no_memory_is_halved(batches, device, problem, monkeypatch):
    """Memory that others have taken since it was looked at; once some batches are done already."""
    monkeypatch.setattr(fake_cupy.Device, "mem_info", (2**30, 2**30))
    device.total = 300_000
    ours = run(*problem, backend="cupy")
    assert_close(ours, run(*problem, backend="cpu"))
    assert len(_grids(device, "solve")) > 8


@pytest.mark.parametrize("what", ["stream_needs", "kernel_needs"])
def test_batch_is_halved_where_the_device_itself_has_no_memory(batches, device, problem, monkeypatch, what):
    """For streams and launches, which take nothing from the pool: what that keeps is given back."""
    monkeypatch.setattr(batches, "_SHARE_OF_MEMORY", 100.0)
    device.total, device.pooled = 600_000, 550_000
    setattr(device, what, 300_000)
    gc.disable()  # memory has to come back at once, not some time
    try:
        ours = run(*problem, backend="cupy")
        assert device.used == 0
    finally:
        gc.enable()
    assert_close(ours, run(*problem, backend="cpu"))


@pytest.mark.parametrize("what", ["stream_needs", "kernel_needs"])
def test_device_that_stays_full_is_told(batches, device, problem, what):
    setattr(device, what, 2**31)
    with pytest.raises(
        MemoryError, match=r"no memory for a batch of 64 pixels.*out of memory\): free some.*the input is unchanged"
    ):
        run(*problem, backend="cupy")
    assert not any(thread.name == "sunpy_demreg-gpu" for thread in threading.enumerate())


def test_no_memory_for_the_kernels_is_told(device, problem):
    device.total = 100
    with pytest.raises(MemoryError, match=r"no memory for the code of the kernels and their tables.*: free some"):
        run(*problem, backend="cupy")


@pytest.mark.parametrize(
    ("err", "is_full"),
    [
        (MemoryError("std::bad_alloc"), True),  # of RMM
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"), False),
        (ValueError("ALLOC_FAILED"), False),
    ],
)
def test_errors_of_full_memory(err, is_full):
    from sunpy_demreg._engines.gpu.memory import is_out_of_memory

    assert is_out_of_memory(err) == is_full


def test_out_of_memory_at_the_smallest_batch_is_told(batches, device, problem):
    device.total = 20_000
    before = [a.copy() for a in problem[:2]]
    with pytest.raises(MemoryError, match=r"no memory for a batch of 64 pixels.*`outputs`; the input is unchanged"):
        run(*problem, backend="cupy")
    for array, copy in zip(problem, before, strict=False):
        np.testing.assert_array_equal(array, copy)


def test_error_leaves_nothing_in_flight(batches, device, problem):
    """Of a consumer: what is queued on the streams is waited for, before its memory goes back."""
    from sunpy_demreg._engines.gpu import engine

    g, sigma, status, *rest = problem
    rest = make_problem(*rest)
    given = Pixels(g.reshape(4, -1), sigma.reshape(4, -1), status.reshape(-1))
    into = execute._empty_solution(rest, given.status, "float64")
    blocks = engine.Engine(rest, given, into, 0).solve_into(slice(0, status.size))
    assert next(blocks) == slice(0, 384)
    deadline = time.monotonic() + 10
    while len(device.log) < 2 * 4 and time.monotonic() < deadline:
        time.sleep(0.01)  # until the other thread has filled all batches again
    streams = [stream for *_, stream in device.log]
    assert any(stream.queue for stream in streams)
    blocks.close()
    assert not any(stream.queue for stream in streams)
    assert not any(thread.name == "sunpy_demreg-gpu" for thread in threading.enumerate())


def test_error_on_the_way_there_is_told(batches, device, problem, monkeypatch):
    """Of the other thread; and it ends."""
    from sunpy_demreg._engines.gpu.launcher import Launcher

    def fail(self, *args):
        raise CompileError("of a kernel")

    class CompileError(Exception):
        pass

    monkeypatch.setattr(Launcher, "__call__", fail)
    with pytest.raises(CompileError, match="of a kernel"):
        run(*problem, backend="cupy")
    assert not any(thread.name == "sunpy_demreg-gpu" for thread in threading.enumerate())


def test_page_locked_memory_is_used_again(batches, device, problem):
    truth = run(*problem, backend="cpu")
    for _ in range(3):
        assert_close(run(*problem, backend="cupy"), truth)
        assert len(device.registered) == 3
    device.cannot_register = True
    batches._page_locked.__init__(0)  # which keeps nothing
    assert_close(run(*problem, backend="cupy"), truth)
    gc.collect()
    assert not device.registered


def test_pixels_are_solved_in_parts_that_the_workspace_holds(device, problem, monkeypatch):
    """To the last bit the same; and in smaller parts where there is less memory than that."""
    import cupy

    from sunpy_demreg._engines.gpu import launcher

    there = [cupy.asarray(a) for a in problem[:3]]
    whole = run(*there, *problem[3:], backend="cupy")
    monkeypatch.setattr(launcher, "_WORKSPACE", 200_000)
    parts = run(*there, *problem[3:], backend="cupy")
    assert len(_grids(device, "solve")) == 1 + 3
    device.total = device.used + 3000 * (3 * 12 + 4 + 2) * 8 + 3000 * 4 + 100_000
    monkeypatch.setattr(launcher, "_LEAST_WORKSPACE", 16)
    few = run(*there, *problem[3:], backend="cupy")
    for a, b, c in zip(whole, parts, few, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a.get(), b.get())
            np.testing.assert_array_equal(a.get(), c.get())


def test_no_memory_for_the_workspace_is_told(device, problem):
    import cupy

    there = [cupy.asarray(a) for a in problem[:3]]
    device.total = device.used + 3000 * (3 * 12 + 6 + 2) * 8
    with pytest.raises(
        MemoryError, match=r"no memory to solve 3000 pixels.*arrays of the host.*the input is unchanged"
    ):
        run(*there, *problem[3:], backend="cupy")


@pytest.mark.parametrize("extreme", [1e-310, 1e-300, 1e300])
def test_quotients_that_break_are_solved_on_the_host(device, extreme):
    """Where a fast reciprocal or root is not a number, the answer is still that of the plain arrays."""
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 50)
    g[:, ::5] *= extreme
    sigma[:, ::5] *= extreme
    sigma[1, 3] = extreme
    status = np.zeros(50, np.int32)
    with np.errstate(all="ignore"):
        truth, ours = (run(g, sigma, status, K, dlogt, logt, Options(), backend=b) for b in ("numpy", "cupy"))
    np.testing.assert_array_equal(ours.status, truth.status)
    for name, a, b in zip(truth._fields[:-1], ours, truth, strict=False):
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9 * np.nanmax(np.abs(b[..., 1])), err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_device_arrays_stay_there(device, problem, dtype):
    import cupy

    there = tuple(cupy.asarray(a) for a in problem[:3])
    ours = run(*there, *problem[3:], backend="cupy", dtype=dtype)
    assert all(a is None or isinstance(a, cupy.ndarray) for a in ours)
    ours = type(ours)(*(None if a is None else a.get() for a in ours))
    assert_close(ours, run(*problem, backend="cpu", dtype=dtype), 1e-9 if dtype == "float64" else 1e-6)
    for a, b in zip(there, problem, strict=False):
        np.testing.assert_array_equal(a.get(), b)
    assert {stream for *_, stream in device.log} == {device.default_stream}


def test_stream_of_the_user_is_respected(device, problem):
    import cupy

    there = [cupy.asarray(a) for a in problem[:3]]
    with cupy.cuda.Stream() as stream:
        run(*there, *problem[3:], backend="cupy")
    assert {used for *_, used in device.log} == {stream}


def test_status_is_classified_on_the_device(anywhere, problem):
    import cupy

    mask = np.random.default_rng(0).random(problem[0].shape) < 0.1
    saturated = mask & (np.random.default_rng(1).random(mask.shape) < 0.5)
    there = execute.classify(*(cupy.asarray(a) for a in (*problem[:2], mask, saturated)))
    np.testing.assert_array_equal(there.get(), execute.classify(*problem[:2], mask, saturated))


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize(
    "options",
    [
        {"weighting": "given"},
        {"weighting": "given", "is_squared": True},
        {"weighting": "em_loci", "loci": (0, 1, 2, 3)},
        {"weighting": "uniform"},
        {"n_refinements": 1},
        {"outputs": ("dem", "emission_measure", "emission_measure_uncertainty")},
        {"outputs": ("covariance", "resolution_matrix")},
        {"outputs": ()},
    ],
    ids=str,
)
def test_every_option_and_output(anywhere, problem, where, options):
    import cupy

    g, sigma, status, K, dlogt, logt, _ = problem
    g, sigma, status = g[:, :8], sigma[:, :8], status[:8]
    weight = None
    if options.get("weighting") == "given":
        weight = np.random.default_rng(0).uniform(0.1, 1, (12, *status.shape))
    functional = np.random.default_rng(1).random((2, 12))
    rest = (K, dlogt, logt, Options(**options))
    truth = run(g, sigma, status, *rest, weight=weight, functional=functional)
    if where == "device":
        g, sigma, status, weight = (None if a is None else cupy.asarray(a) for a in (g, sigma, status, weight))
    ours = run(g, sigma, status, *rest, weight=weight, functional=functional, backend="cupy")
    if where == "device":
        ours = type(ours)(*(None if a is None else a.get() for a in ours))
    for name, a, b in zip(truth._fields, ours, truth, strict=True):
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8 * np.nanmax(np.abs(b), initial=0), err_msg=name)


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("why", ["more channels than bins", "many channels", "little shared memory"])
def test_what_the_kernel_lacks_is_left_to_plain_arrays(batches, device, where, why):
    import cupy

    K, dlogt, logt = instrument(*{"more channels than bins": (6, 4), "many channels": (13, 14)}.get(why, (3, 12)))
    if why == "little shared memory":
        device.shared_optin = 1000
    g, sigma = pixels(K, logt, 90)
    g[0, ::9] = np.nan
    status = execute.classify(g, sigma)
    rest = K, dlogt, logt, Options()
    truth = run(g, sigma, status, *rest, backend="numpy")
    if where == "device":
        g, sigma, status = (cupy.asarray(a) for a in (g, sigma, status))
    ours = run(g, sigma, status, *rest, backend="cupy")
    if where == "device":
        ours = type(ours)(*(None if a is None else a.get() for a in ours))
    assert not device.log
    np.testing.assert_array_equal(ours.status, truth.status)
    np.testing.assert_allclose(ours.dem, truth.dem, rtol=1e-6, atol=1e-9 * np.nanmax(truth.dem))


def test_no_pixels(anywhere, problem):
    g, sigma, status, *rest = problem
    answer = run(g[:, :0], sigma[:, :0], status[:0], *rest, backend="cupy")
    assert answer.dem.shape == (12, 0, 100)


def test_few_pixels_share_out_the_bins(device):
    """The answer is the same, to the last bit, whoever computes it."""
    import cupy

    K, dlogt, logt = instrument(3, 50)
    g, sigma = pixels(K, logt, 20)
    arrays = [cupy.asarray(a) for a in (g, sigma, np.zeros(20, np.int32))]
    answers = []
    for n_multiprocessors in (1, 100):
        device.n_multiprocessors = 0 if n_multiprocessors == 1 else n_multiprocessors
        answers.append(run(*arrays, K, dlogt, logt, Options(), backend="cupy"))
    assert [grid[1] for grid in _grids(device, "solve")] == [1, 1]
    assert [grid[1] for grid in _grids(device, "errors")] == [1, 6]
    for one, shared in zip(*answers, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one.get(), shared.get())


@pytest.mark.parametrize(
    ("trouble", "error", "words"),
    [
        ({"n_devices": 0}, RuntimeError, r"finds no GPU that CuPy can use \(cudaErrorNoDevice.*backend='cpu'"),
        (
            {"capability": "35"},
            RuntimeError,
            r"needs a GPU of compute capability 6.0 or more.* 3.5: pass backend='cpu'",
        ),
        (
            {"compile_error": "bad"},
            RuntimeError,
            r"cannot compile for this GPU, of compute capability 9.0.*show_config",
        ),
    ],
)
def test_device_that_cannot_be_used_is_told(device, problem, trouble, error, words):
    vars(device).update(trouble)
    with pytest.raises(error, match=words):
        run(*problem, backend="cupy")


def test_missing_cupy_is_told(monkeypatch, problem):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    fake_cupy.forget_engine(monkeypatch)
    with pytest.raises(ImportError, match=r"needs CuPy: install 'sunpy-demreg\[cuda12\]' or 'sunpy-demreg\[cuda13\]'"):
        run(*problem, backend="cupy")


def test_mixed_arrays_are_told(anywhere, problem):
    import cupy

    g, sigma, status, *rest = problem
    with pytest.raises(TypeError, match=r"`data` is on the GPU \(CuPy\) but `uncertainty` on the host: move all"):
        run(cupy.asarray(g), sigma, cupy.asarray(status), *rest, backend="cupy")
    with pytest.raises(TypeError, match=r"`backend` 'cpu' takes NumPy arrays"):
        run(*(cupy.asarray(a) for a in (g, sigma, status)), *rest, backend="cpu")


def test_answer_that_does_not_fit_is_told(device, problem):
    import cupy

    there = [cupy.asarray(a) for a in problem[:3]]
    device.total = device.used + 1000
    with pytest.raises(MemoryError, match=r"`outputs` of 3000 pixels take 0.00 GiB, more than are free.*'float32'"):
        run(*there, *problem[3:], backend="cupy")


def test_plain_solution_is_the_truth_of_these_tests(problem):
    """Not only the CPU's compiled engine."""
    g, sigma, status, *rest = problem
    good = status.reshape(-1) == 0
    with np.errstate(all="ignore"):
        truth = solve(g.reshape(4, -1)[:, good], sigma.reshape(4, -1)[:, good], *rest)
    compiled = run(*problem)
    solved = (truth.status & int(Status.UNSOLVED)) == 0
    dem = compiled.dem.reshape(12, -1)[:, good]
    np.testing.assert_allclose(dem[:, solved], truth.dem[:, solved], rtol=1e-6, atol=1e-9 * np.nanmax(truth.dem))


@pytest.fixture
def there(anywhere, small):
    """A corner of the bundled maps on the device; one value is NaN."""
    import cupy

    from astropy.nddata import StdDevUncertainty
    from ndcube import NDCube

    data = small.data.copy()
    data[2, 1, 1] = np.nan
    arrays = data, small.uncertainty.array, small.mask

    def cube(home):
        data, sigma, mask = (home(a) for a in arrays)
        uncertainty = StdDevUncertainty(sigma, copy=False)
        return NDCube(data, small.wcs, uncertainty=uncertainty, mask=mask, unit=small.unit, meta=small.meta)

    return cube(cupy.asarray), cube(np.asarray)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"method": "l2"},
        {"positivity": "constrain", "dtype": "float32"},
        {"method": "lognormal", "calibration_error": 0.1, "common_calibration_error": 0.2},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:1 of 42 pixels were not solved")
def test_cube_on_the_device_gives_cubes_on_the_device(there, response, edges, kwargs):
    import cupy

    from sunpy_demreg import invert

    ours, truth = (invert(cube, response, edges, **kwargs) for cube in there)
    assert list(ours) == list(truth)
    part = ours[..., 1:4, 2:5]
    for key, cube in truth.items():
        mine = ours[key]
        assert isinstance(mine.data, cupy.ndarray)
        assert mine.data.dtype == cube.data.dtype
        np.testing.assert_allclose(mine.data.get(), cube.data, rtol=1e-5, atol=1e-9 * np.nanmax(np.abs(cube.data)))
        if cube.mask is not None:
            np.testing.assert_array_equal(mine.mask.get(), cube.mask)
        np.testing.assert_array_equal(part[key].data.get(), mine.data.get()[..., 1:4, 2:5])
    error = ours["dem"].uncertainty.array
    assert isinstance(error, cupy.ndarray)
    np.testing.assert_allclose(error.get(), truth["dem"].uncertainty.array, rtol=1e-5)
    assert ours["status"].data.get()[1, 1] & Status.MISSING_CHANNEL
    assert ours["omitted_channels"].data.get()[1, 1] == 1 << 2


@pytest.mark.filterwarnings("ignore:1 of 42 pixels were not solved")
def test_host_cube_through_the_gpu(there, response, edges):
    """Real pixels: all outputs are those of the CPU."""
    from sunpy_demreg import invert

    ours, truth = (invert(there[1], response, edges, backend=backend) for backend in ("cupy", "cpu"))
    for key, cube in truth.items():
        scale = np.nan_to_num(np.abs(cube.data)).max(axis=0) if cube.data.ndim > 2 else 1.0
        assert np.nanmax(np.abs(ours[key].data - cube.data) / scale) < 1e-9, key


def test_cubes_that_are_here_and_there_are_told(there, response, edges):
    from astropy.nddata import StdDevUncertainty
    from ndcube import NDCube

    from sunpy_demreg import invert

    cube, on_host = there
    mixed = NDCube(cube.data, cube.wcs, uncertainty=StdDevUncertainty(on_host.uncertainty.array), unit=cube.unit)
    with pytest.raises(TypeError, match=r"`data` is on the GPU \(CuPy\) but `uncertainty` on the host"):
        invert(mixed, response, edges)
    with pytest.raises(TypeError, match=r"`backend` 'cpu' takes NumPy arrays"):
        invert(cube, response, edges, backend="cpu")
    with pytest.raises(TypeError, match=r"`data` is on the GPU.*but `weighting` on the host"):
        invert(cube, response, edges, weighting=np.ones((36, *cube.shape[1:])))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.filterwarnings("ignore:1 of 42 pixels were not solved")
def test_blocks_of_dask(there, response, edges, scheduler):
    """Each goes through the GPU by itself; on threads, several at once."""
    import dask
    import dask.array as da

    from astropy.nddata import StdDevUncertainty
    from ndcube import NDCube

    from sunpy_demreg import invert

    cube = there[1]
    data, sigma, mask = (da.from_array(a, chunks=(6, 3, 4)) for a in (cube.data, cube.uncertainty.array, cube.mask))
    uncertainty = StdDevUncertainty(sigma, copy=False)
    lazy = NDCube(data, cube.wcs, uncertainty=uncertainty, mask=mask, unit=cube.unit, meta=cube.meta)
    ours, truth = (invert(c, response, edges, backend=b) for c, b in ((lazy, "cupy"), (cube, "cpu")))
    with dask.config.set(scheduler=scheduler):
        for key in ("dem", "temperature_resolution", "status"):
            np.testing.assert_allclose(ours[key].data.compute(), truth[key].data, rtol=1e-5, err_msg=key)


def test_two_streams_at_once(anywhere, problem):
    """From two threads, each with arrays and a problem of its own: each has its own memory on the way."""
    import cupy

    problems = [(*problem[:3], *instrument(4, m), Options()) for m in (12, 20)]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in problems]

    def solve_on(stream, problem):
        with stream:
            there = [cupy.asarray(a) for a in problem[:3]]
            answers = [run(*there, *problem[3:], backend="cupy") for _ in range(5)]
            return [Solution(*(None if a is None else a.get() for a in answer)) for answer in answers]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(solve_on, streams, problems))
    for answers, one in zip(found, problems, strict=True):
        truth = run(*one, backend="cpu")
        for answer in answers:
            assert_close(answer, truth)


def test_memory_of_an_earlier_answer(anywhere, problem):
    """Is where the next one is put."""
    g, *rest = problem
    first = run(*problem, backend="cupy")
    second = run(2 * g, *rest, backend="cupy", out=first)
    assert all(np.shares_memory(a, b) for a, b in zip(first, second, strict=True) if a is not None)
    assert_close(second, run(2 * g, *rest, backend="cpu"))


@pytest.mark.parametrize("where", ["host", "device"])
def test_what_does_not_fit_into_single_precision_is_flagged(anywhere, problem, where):
    """As on the CPU: too large, and too small for all digits."""
    import cupy

    g, sigma, status = (a[..., :3, :] for a in problem[:3])
    K, *rest = problem[3:]
    factor = 10.0 ** np.where(np.arange(100) % 7 == 0, 20, np.where(np.arange(100) % 7 == 1, -60, 0))
    arrays = g * factor, sigma * factor, status
    rest = K * (1e-17 / K.max()), *rest
    truth = run(*arrays, *rest, dtype="float32")
    assert np.count_nonzero(truth.status & Status.FAILED) > 20
    assert np.count_nonzero(truth.status & Status.UNSOLVED == 0) > 100
    if where == "device":
        arrays = [cupy.asarray(a) for a in arrays]
    ours = run(*arrays, *rest, dtype="float32", backend="cupy")
    if where == "device":
        ours = Solution(*(None if a is None else a.get() for a in ours))
    np.testing.assert_array_equal(ours.status, truth.status)
    for name, a, b in zip(truth._fields[:-1], ours, truth, strict=False):
        if b is not None:
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.nanmax(b[..., 2::7]), err_msg=name)


def test_fast_quotients_and_roots(anywhere):
    """To rounding; and where they are not, it is noticed."""
    import cupy

    from sunpy_demreg._engines.gpu.kernels import ARITHMETIC

    values = np.random.default_rng(0).uniform(1, 2, 1000) * 2.0 ** np.linspace(-1000, 1000, 1000)
    breaking = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1.7e308])
    x = np.concatenate([values, -values, breaking])
    source = (
        ARITHMETIC
        + """
extern "C" __global__ void __launch_bounds__(128, 1)
try_out(const double *x, double *inverse, double *square_root, int *broken, long long n)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    bool is_broken = false, is_broken_too = false;
    inverse[i] = reciprocal(x[i], is_broken);
    square_root[i] = root(x[i], is_broken_too);
    broken[i] = is_broken + 2 * is_broken_too;
}
"""
    )
    there = [cupy.asarray(a) for a in (x, np.empty(x.size), np.empty(x.size), np.empty(x.size, np.int32))]
    kernel = cupy.RawKernel(source, "try_out", ("--std=c++14",))
    kernel((-(-x.size // 128), 1), (128,), (*there, x.size), shared_mem=0)
    inverse, square_root, broken = (a.get() for a in there[1:])
    good = slice(0, 2 * values.size)
    np.testing.assert_array_equal(broken, [0] * values.size + [2] * values.size + [1, 1, *[3] * 5, 1])
    np.testing.assert_allclose(inverse[good], 1 / x[good], rtol=2.0**-52)
    np.testing.assert_allclose(square_root[: values.size], np.sqrt(values), rtol=2.0**-52)
    assert np.isnan(square_root[values.size : 2 * values.size]).all()  # of what is negative
    np.testing.assert_array_equal(square_root[good.stop :][:2], 0.0)
    assert not np.isfinite(square_root[good.stop :][2:7]).any()
