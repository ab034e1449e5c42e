"""CPU and GPU workers of one cluster, each a process as the documentation starts it; the GPU is the stand-in's."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from lazy_cubes import lazily

import astropy.units as u

from sunpy_demreg import batch_invert, emission_measure, invert, read, write
from sunpy_demreg._inversion import blocks, hybrid

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pixels were not solved"),
    pytest.mark.filterwarnings("ignore::erfa.ErfaWarning"),
]
BINS = 10 ** np.arange(5.6, 7.41, 0.1) * u.K
STAND_IN = ["--preload", str(Path(__file__).parent / "gpu_worker.py")]


@contextmanager
def cluster(folder, has_device, **environment):
    """The address of a scheduler with two workers of one thread, of which one has a GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dask"]
    worker = [*command, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker += ["--death-timeout", "120"]  # nor does it wait for ever for a scheduler that is not there
    on_gpu = [*worker, "--resources", "GPU=1", *([] if has_device else STAND_IN)]
    scheduler = [*command, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with (folder / "log").open("w") as log:
        how = {"cwd": folder, "stdout": log, "stderr": log, "env": os.environ | environment}
        processes = [subprocess.Popen(each, **how) for each in (scheduler, worker, on_gpu)]
        try:
            with distributed.Client(address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=120)
            yield address
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.fixture(scope="module", params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def address(request, tmp_path_factory):
    """Of a scheduler that keeps annotations."""
    if request.param != "device" and shutil.which("g++") is None:
        pytest.skip("needs g++, to run the text of the GPU's kernels on the processor at hand")
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(folder, request.param == "device", DASK_OPTIMIZATION__FUSE__ACTIVE="False") as address:
        yield address


@pytest.fixture
def client(address):
    with distributed.Client(address, timeout=60) as client:
        yield client


@pytest.fixture
def shares(monkeypatch):
    """Half of the pixels for the GPU; blocks of other workers are small."""
    monkeypatch.setattr(hybrid, "_THREADS", 1)
    monkeypatch.setattr(blocks, "_MAX_PIXELS", 24)
    monkeypatch.setattr(blocks, "_MAX_PIXELS_OF_GPU", 600)


def assert_close(ours, truth, on_gpu, tolerance):
    """To a part of a pixel's peak; and with the bits of the CPU where, and only where, a CPU is said to have solved."""
    assert set(ours) == {*truth, "solved_on_gpu"}
    for key, cube in truth.items():
        a, b = np.atleast_3d(ours[key].data), np.atleast_3d(cube.data)
        if cube.data.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=key)
            continue
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=key)
        here = (..., ~on_gpu) if cube.data.ndim > 2 else (~on_gpu,)
        np.testing.assert_array_equal(ours[key].data[here], cube.data[here], err_msg=key)
        with np.errstate(invalid="ignore"):
            least = 1.0 if key == "chi_squared" else 1e-300  # its target
            scale = np.nanmax(np.abs(cube.data), axis=tuple(range(cube.data.ndim - 2)), initial=least)
            difference = np.abs(ours[key].data - cube.data) / scale
        assert np.nanmax(difference) < tolerance, key
    solved = np.isfinite(truth["chi_squared"].data)
    is_other = (ours["dem"].data != truth["dem"].data).any(axis=0)
    assert np.count_nonzero(is_other[on_gpu]) >= 0.5 * np.count_nonzero(solved & on_gpu)


def with_trouble(cube):
    """A corner of the bundled maps, with missing channels and noise below zero among its pixels."""
    some = cube[:, 20:50, 60:100]
    data, mask, sigma = some.data.copy(), some.mask.copy(), some.uncertainty.array.copy()
    data[2, ::5, ::3], mask[1, 1::7, 1::4], data[0:2, 4, 4] = np.nan, True, np.nan
    sigma[0, 2::9, ::5] = data[0, 2::9, ::5]
    data[0, 2::9, ::5] *= -0.5
    uncertainty = type(some.uncertainty)(sigma)
    return type(some)(data, some.wcs, unit=some.unit, mask=mask, uncertainty=uncertainty, meta=some.meta)


def inverted_by_both(cube, response, **options):
    """Checks the answer of CPU and GPU together; returns which pixels the GPU solved."""
    given = with_trouble(cube)
    result = invert(lazily(given, (6, 30, 10)), response, BINS, backend="hybrid", **options)
    assert result.meta["backend"] == "hybrid"
    assert result["status"].data.chunks[1][:2] == (10, 10)  # of the GPU, and then those that are divided
    assert max(result["status"].data.chunks[1][2:]) < 10
    computed = dask.compute({key: each.data for key, each in result.items()})[0]
    ours = {key: type(given)(array, result[key].wcs) for key, array in computed.items()}
    on_gpu = computed["solved_on_gpu"]
    assert on_gpu.dtype == bool
    tolerance = 1e-6 if "method" in options else 1e-9
    assert_close(ours, invert(given, response, BINS, **options), on_gpu, tolerance)
    return on_gpu, computed["omitted_channels"]


@pytest.mark.parametrize("options", [{}, {"method": "lognormal"}], ids=str)
def test_one_call_uses_both(client, shares, cube, response, options):
    """And large blocks are solved on the GPU only."""
    on_gpu, omitted = inverted_by_both(cube, response, **options)
    assert on_gpu[:, :20].all()
    assert not on_gpu.all()
    for some in (on_gpu, ~on_gpu):
        assert len(np.unique(omitted[some])) >= 3


def test_one_call_uses_both_where_annotations_are_lost(shares, cube, response, tmp_path):
    """As by default they are: then any worker may get a large block, and it is known which did."""
    with cluster(tmp_path, False) as address, distributed.Client(address, timeout=60):
        inverted_by_both(cube, response)


@pytest.mark.parametrize("ending", ["zarr", "fits", "asdf"])
def test_files_tell_which_engine_it_was(client, shares, part, response, tmp_path, ending):
    result = invert(lazily(part, (6, 13, 5)), response, BINS, backend="hybrid")
    path = tmp_path / f"dem.{ending}"
    write(result, path)
    again = read(path)
    kept = np.asarray(again["solved_on_gpu"].data)
    assert kept.dtype == bool
    assert kept.shape == part.shape[1:]
    assert kept.any() == (ending != "fits")  # which is computed on threads of this process
    assert "solved_on_gpu" in again._repr_html_()
    truth = invert(part, response, BINS)
    solved = np.isfinite(truth["chi_squared"].data)
    same = (np.asarray(again["dem"].data) == truth["dem"].data).all(axis=0)
    assert same[solved & ~kept].all()
    np.testing.assert_allclose(
        np.asarray(emission_measure(again, BINS[[0, 9]]).data),
        emission_measure(truth, BINS[[0, 9]]).data,
        rtol=1e-6,
    )


def test_batch_has_steps_of_both(address, series_folder, tmp_path):
    options = {"prepare_options": {"n_sample": 16}}
    batch_invert(series_folder, tmp_path / "cpu.zarr", BINS, **options)
    truth = read(tmp_path / "cpu.zarr")
    for k in range(5):  # Dask may give all three steps to one worker
        path = tmp_path / f"{k}.zarr"
        report = batch_invert(series_folder, path, BINS, scheduler=address, backend="hybrid", **options)
        assert [step.outcome for step in report.steps] == ["done"] * 3
        ours = read(path)
        on_gpu = ours["solved_on_gpu"].data.compute()
        of_steps = on_gpu.reshape(3, -1)
        assert (of_steps.all(axis=1) | ~of_steps.any(axis=1)).all()  # a worker does whole steps
        if 0 < of_steps.all(axis=1).sum() < 3:
            break
    assert on_gpu.any()
    assert not on_gpu.all()
    dem, expected = ours["dem"].data.compute(), truth["dem"].data.compute()
    assert np.nanmax(np.abs(dem - expected) / np.nanmax(expected, axis=0)) < 1e-9
    np.testing.assert_array_equal(dem[:, ~on_gpu], expected[:, ~on_gpu])
    np.testing.assert_array_equal(ours["status"].data.compute(), truth["status"].data.compute())


@pytest.mark.parametrize(
    ("chunks", "share", "cut"),
    [
        (((10, 10, 10), (40,)), 0.5, (0, 10)),
        (((10, 10, 10), (40,)), 0.99, (0, 20)),
        (((10, 10, 10), (40,)), 1.0, (0, 30)),
        (((10, 10, 10), (40,)), 0.0, (0, 0)),
        (((30,), (40,)), 0.5, (1, 20)),  # a single block is divided
        (((4, 4), (9, 9, 9), (5,)), 0.7, (1, 18)),
    ],
)
def test_pixels_are_divided_between_blocks(chunks, share, cut):
    assert hybrid._cut(chunks, share) == cut


def test_without_workers_that_have_a_gpu_the_cure_is_named(part, response, series_folder, tmp_path):
    lazy = lazily(part, (6, 13, 5))
    with pytest.raises(
        ValueError, match=r"`backend` 'hybrid' .* but there is no `distributed.Client`: make one; start"
    ):
        invert(lazy, response, BINS, backend="hybrid")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", resources={"CPU": 1}
        ) as cluster,
        distributed.Client(cluster),
        pytest.raises(ValueError, match=r'none of its 1 has the resource GPU: start .*--resources "GPU=1"'),
    ):
        invert(lazy, response, BINS, backend="hybrid")
    with pytest.raises(ValueError, match=r"`backend` 'hybrid' is only for Dask arrays.* or pass 'cpu' or 'cupy'"):
        invert(part, response, BINS, backend="hybrid")
    with pytest.raises(ValueError, match=r"`backend` 'hybrid' is for a cluster that runs.*`scheduler`"):
        batch_invert(series_folder, tmp_path / "a.zarr", BINS, backend="hybrid")
    assert not any(tmp_path.iterdir())
