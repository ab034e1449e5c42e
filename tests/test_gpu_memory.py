"""The memory of a real GPU: what happens when there is little of it, and when it is another library's."""

import numpy as np
import pytest
import synthetic
from synthetic import instrument, pixels

from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import Options

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=[Options(), Options(method="lognormal", parameter_choice="prior")], ids=str)
def problem(request):
    """Of 200000 pixels, some of which lack a channel."""
    K, dlogt, logt = instrument(6, 30)
    g, sigma = pixels(K, logt, 4000)
    g, sigma = (np.tile(a, (1, 50)) for a in (g, sigma))
    g[2, ::17], g[4, 5::1001] = np.nan, np.inf
    return g, sigma, execute.examine(g, sigma, most_missing=1), K, dlogt, logt, request.param


def run(g, sigma, examined, *problem, **more):
    status, omitted = examined
    return synthetic.run(g, sigma, status, *problem, omitted=omitted, **more)


@pytest.fixture(scope="module")
def truth(problem):
    """On the GPU, with all of its memory; after it, the kernels are loaded."""
    answer = run(*problem, backend="cupy")
    g, sigma, examined, *rest = problem
    some = slice(0, 1000)
    cpu = run(g[:, some], sigma[:, some], tuple(a[some] for a in examined), *rest, backend="numpy")
    assert np.isfinite(cpu.dem).all()
    np.testing.assert_allclose(answer.dem[:, some], cpu.dem, rtol=1e-6, atol=1e-9 * cpu.dem.max())
    return answer


@pytest.fixture
def fill():
    """A function that takes all of the device's memory but so many bytes."""
    import cupy

    taken = []

    def fill(left):
        cupy.get_default_memory_pool().free_all_blocks()
        size = cupy.cuda.Device().mem_info[0] - left
        while size >= 2**20:
            try:
                taken.append(cupy.cuda.memory.Memory(size))  # of no pool, which would give it to others
            except cupy.cuda.runtime.CUDARuntimeError:
                size //= 2
            else:
                size = min(size, cupy.cuda.Device().mem_info[0] - left)

    yield fill
    taken.clear()
    cupy.get_default_memory_pool().free_all_blocks()


def assert_same(ours, truth):
    for name, a, b in zip(truth._fields, ours, truth, strict=True):
        if b is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_little_memory_makes_small_batches(problem, truth, fill):
    fill(left=64 * 2**20)
    assert_same(run(*problem, backend="cupy"), truth)


def test_batches_are_halved_when_memory_runs_out(problem, truth, fill, monkeypatch):
    """Really: the estimate is told that there is plenty."""
    from sunpy_demreg._engines.gpu import batches

    monkeypatch.setattr(batches, "_SHARE_OF_MEMORY", 100.0)
    fill(left=64 * 2**20)
    assert_same(run(*problem, backend="cupy"), truth)


def test_full_device_is_told(problem, truth, fill):
    import cupy

    g, sigma, examined, *rest = problem
    g, sigma, *examined = (cupy.asarray(a[..., :2000]) for a in (g, sigma, *examined))
    there = g, sigma, examined
    fill(left=0)
    with pytest.raises(MemoryError):
        run(*problem, backend="cupy")
    with pytest.raises(MemoryError):
        run(*there, *rest, backend="cupy")


def test_after_a_full_device_all_is_well(problem, truth):
    assert_same(run(*problem, backend="cupy"), truth)


@pytest.mark.parametrize("kind", ["another pool", "asynchronous pool", "no pool"])
def test_memory_of_another_allocator(problem, truth, kind):
    """As of RMM, which PyTorch and RAPIDS can share: all memory comes from it."""
    import cupy

    pools = {"another pool": cupy.cuda.MemoryPool, "asynchronous pool": cupy.cuda.MemoryAsyncPool}
    pool = pools[kind]() if kind in pools else None
    sizes = []

    def allocate(size):
        sizes.append(size)
        return cupy.cuda.memory.MemoryPointer(cupy.cuda.memory.Memory(size), 0) if pool is None else pool.malloc(size)

    cupy.get_default_memory_pool().free_all_blocks()
    before = cupy.get_default_memory_pool().total_bytes()
    with cupy.cuda.using_allocator(allocate):
        assert_same(run(*problem, backend="cupy"), truth)
        g, sigma, examined, *rest = problem
        there = cupy.asarray(g), cupy.asarray(sigma), [cupy.asarray(a) for a in examined]
        ours = run(*there, *rest, backend="cupy")
        assert_same(type(ours)(*(None if a is None else a.get() for a in ours)), truth)
        del there, ours
    assert sum(sizes) > problem[0].nbytes
    assert cupy.get_default_memory_pool().total_bytes() == before
