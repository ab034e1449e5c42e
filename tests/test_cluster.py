"""A real SLURM: an array of parts that write one store while tasks are killed; workers of dask-jobqueue."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from slurm import Slurm, missing

import astropy.units as u
from sunpy.map import Map

import sunpy_demreg
from sunpy_demreg import batch_invert, batch_status

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)")]
CHOICES = ["--n-sample", "16", "--log-t", "5.6", "7.4", "0.2"]
OPTIONS = {"prepare_options": {"n_sample": 16, "saturation": 15000}, "dtype": "float32"}
N_STEPS, N_TASKS = 24, 4


@pytest.fixture(scope="module")
def slurm():
    if why := missing():
        pytest.skip(f"no SLURM can be started here: {why}")
    # In a short path: that of a socket has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Slurm(Path(folder), cpus=N_TASKS) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of many times: corners of the bundled maps that brighten."""
    folder = tmp_path_factory.mktemp("files")
    for smap in sunpy_demreg.sample.aia_maps():
        header = {key: value for key, value in smap.meta.items() if key not in ("t_obs", "bitpix", "keycomments")}
        data = smap.data[40:60, 90:112].astype("float32")
        for k in range(N_STEPS):
            header["date-obs"] = (smap.date + k * 120 * u.s).isot
            Map(data * np.float32(1 + 0.01 * k), header).save(folder / f"{header['wavelnth']:03d}_{k:02d}.fits")
    return folder


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    """What one process makes."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    report = batch_invert(folder, path, 10 ** np.linspace(5.6, 7.4, 10) * u.K, **OPTIONS)
    assert report.is_complete
    return path


def files_of(path):
    """Of a store, with their contents, but for what the processes need to know."""
    files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not name.startswith("batch/")}


def wait_until(is_so, seconds=120):
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < seconds
        time.sleep(0.05)


def kill_a_task(path, tasks):
    """One of these that has claimed a step, if any has; its number in the array is in its environment."""
    for claim in (path / "batch" / "claims").glob("step-*"):
        with contextlib.suppress(OSError, ValueError):  # it may be released, or written, just now
            pid = json.loads(claim.read_text())["pid"]
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(f"SLURM_ARRAY_TASK_ID={task}".encode() in variables for task in tasks):
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def test_array_whose_tasks_are_killed_makes_the_store_of_one_process(slurm, folder, store, tmp_path):
    path = tmp_path / "a.zarr"
    command = [sys.executable, "-m", "sunpy_demreg", "batch", folder, "--output", path, *CHOICES]
    submit = [*command, "--slurm", f"--partition=main --array=1-{N_TASKS} --cpus-per-task=1 --output=%A_%a.log"]
    said = slurm.run(*submit, cwd=tmp_path)
    job = said.split("Submitted batch job ")[1].split()[0]

    def n_done():
        return batch_status(path).n_done if path.exists() else 0

    wait_until(lambda: n_done() > 2)
    slurm.run("scancel", f"{job}_2")
    slurm.run("scontrol", "requeue", f"{job}_1")
    wait_until(lambda: kill_a_task(path, (3, 4)))
    wait_until(lambda: n_done() > N_STEPS // 3)
    states = slurm.wait_for_all(240)
    assert states[f"{job}_2"] == "CANCELLED"
    assert "FAILED" in states.values()
    status = batch_status(path)
    assert status.n_done < status.n_steps == N_STEPS
    # What failed is put back into the queue, and what was cancelled is submitted again, with all the rest.
    for task, state in states.items():
        if state == "FAILED":
            slurm.run("scontrol", "requeue", task)
    again = slurm.run(*submit, cwd=tmp_path).split("Submitted batch job ")[1].split()[0]
    states = slurm.wait_for_all(240)
    logs = "\n".join(each.read_text() for each in tmp_path.glob("*.log"))
    assert {state for task, state in states.items() if not task.endswith("_2") or task.startswith(again)} == {
        "COMPLETED"
    }, (states, logs)
    assert batch_status(path) == (N_STEPS, N_STEPS, [])
    assert files_of(path) == files_of(store), logs
    assert not any((path / "batch" / "claims").iterdir())


def test_workers_of_dask_jobqueue(slurm, folder, store, tmp_path, monkeypatch):
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    from distributed import Client

    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.environment[name])
    options = {"queue": "main", "cores": 1, "processes": 1, "memory": "2GB", "walltime": "00:10:00"}
    options |= {"job_extra_directives": ["--mem=0"], "log_directory": str(tmp_path), "interface": "lo"}
    options |= {"scheduler_options": {"dashboard_address": ":0"}}
    path = tmp_path / "a.zarr"
    with dask_jobqueue.SLURMCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        report = batch_invert(
            folder, path, 10 ** np.linspace(5.6, 7.4, 10) * u.K, scheduler=cluster.scheduler_address, **OPTIONS
        )
    assert report.is_complete
    assert zarr.open_group(path)["step_done"][:].all()
    assert files_of(path) == files_of(store)
