"""Batches whose store is at a URL: in memory, in S3; by one process, and by several that are killed."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest

import astropy.units as u
from sunpy.map import Map

from sunpy_demreg import batch_invert, batch_status, invert, prepare, read, write
from sunpy_demreg._batch import claims, create
from sunpy_demreg._batch.claims import Claims
from sunpy_demreg._batch.index import Index
from sunpy_demreg._cli.main import main
from sunpy_demreg._common.dates import to_microseconds
from sunpy_demreg._common.urls import Url
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg.response import TemperatureResponse

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the server of S3
]
BINS = 10 ** np.linspace(5.6, 7.4, 10) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32", "outputs": ("dem",)}
CHOICES = ["--n-sample", "16", "--log-t", "5.6", "7.4", "0.2"]


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """Where a store is to be."""
    if request.param == "memory":
        request.getfixturevalue("memory")
        return Url("memory://out/dem.zarr")
    return Url(f"{request.getfixturevalue('bucket')}/out/dem.zarr")


in_memory = pytest.mark.parametrize("place", ["memory"], indirect=True)


@pytest.fixture(scope="module")
def store(series_folder, tmp_path_factory):
    """What one process makes on the disk."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    assert batch_invert(series_folder, path, BINS, **OPTIONS).is_complete
    return path


def content_of(url):
    """Of all that is there, by name."""
    if not isinstance(url, Url):
        return {str(p.relative_to(url)): p.read_bytes() for p in url.rglob("*") if p.is_file()}
    files, path = fsspec.core.url_to_fs(str(url))
    files.invalidate_cache()
    return {name.partition(path)[2].lstrip("/"): files.cat_file(name) for name in files.find(path)}


def without_bookkeeping(url):
    return {name: each for name, each in content_of(url).items() if not name.startswith("batch/")}


def repaired(path, target):
    smap = Map(path)
    header = {k: v for k, v in smap.meta.items() if k not in ("bitpix", "keycomments")} | {"comment": "repaired"}
    Map(2 * smap.data, header).save(target, overwrite=True)


# ---- one process


def test_same_as_on_the_disk(place, series_folder, store):
    assert batch_invert(series_folder, str(place), BINS, **OPTIONS).counts["done"] == 3
    assert content_of(place) == content_of(store)
    assert batch_status(place) == (3, 3, [])
    assert batch_invert(series_folder, str(place), BINS, **OPTIONS).counts["kept"] == 3
    np.testing.assert_array_equal(read(place)["dem"].data.compute(), read(store)["dem"].data.compute())


def test_parts_in_any_order_while_it_is_read(place, series_folder, store):
    expected, seen = read(store)["dem"].data.compute(), []
    times = read(store)["dem"].axis_world_coords("time")[0]

    def look(n_steps, step):
        assert main(["batch", "--output", str(place), "--status"]) == 0
        now = read(place)["dem"]
        number = np.searchsorted(to_microseconds(times), to_microseconds(now.axis_world_coords("time")[0]))
        assert (np.diff(number) > 0).all()
        np.testing.assert_array_equal(now.data.compute(), expected[:, number])
        status = batch_status(place)
        seen.append((len(number), status.n_done, status.n_steps))

    for part in ((3, 3), (1, 3), (2, 3)):
        assert batch_invert(series_folder, place, BINS, part=part, on_step=look, **OPTIONS).counts["done"] == 1
    assert seen == [(1, 1, 3), (2, 2, 3), (3, 3, 3)]
    # Where steps are does not depend on the order.
    assert content_of(place) == content_of(store)


@in_memory
def test_late_and_repaired_files(place, series_folder, tmp_path):
    files, disk = tmp_path / "files", tmp_path / "disk.zarr"
    files.mkdir()
    late = "step1_171.fits"
    for path in series_folder.glob("step[12]_*.fits"):
        if path.name != late:
            shutil.copy(path, files)
    outcomes = []
    for to_add in (None, late, "step0"):
        if to_add == "step0":
            repaired(series_folder / "step2_193.fits", files / "step2_193.fits")
        if to_add:
            for path in series_folder.glob(f"{to_add}*"):
                shutil.copy(path, files)
        reports = [batch_invert(files, where, BINS, **OPTIONS) for where in (place, disk)]
        assert reports[0].counts == reports[1].counts
        outcomes.append(reports[0].counts["done"])
        there, here = read(place)["dem"], read(disk)["dem"]
        np.testing.assert_array_equal(there.data.compute(), here.data.compute())
        assert (np.diff(to_microseconds(there.axis_world_coords("time")[0])) > 0).all()
    assert outcomes == [2, 1, 2]
    assert content_of(place) == content_of(disk)


def test_files_are_looked_at_once(place, series_folder):
    folder = place / "batch"
    with Index(folder) as index:
        index.add(series_folder)
        index.keep()
        assert index.n_read == 18
    with Index(folder) as index:
        index.add(series_folder)
        assert index.n_read == 0
    (folder / "index.sqlite").write_bytes(b"no table")
    with Index(folder) as index:
        index.add(series_folder)
        assert index.n_read == 18


@in_memory
def test_interrupted_making_is_resumed(place, series_folder, store, monkeypatch):
    """Also with other settings: what is left of the first ones is replaced."""
    create_ = Url.create

    def killed(self, content):
        if self == place / "zarr.json":  # the last one
            raise KeyboardInterrupt
        return create_(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Url, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            batch_invert(series_folder, place, BINS, **OPTIONS | {"dtype": "float64"})
    assert b"float64" in (place / "dem" / "zarr.json").read_bytes()
    assert batch_status(place) == (0, 0, [])
    with pytest.raises(ValueError, match="`path`"):
        read(place)
    assert batch_invert(series_folder, place, BINS, **OPTIONS).is_complete
    assert content_of(place) == content_of(store)


@in_memory
def test_interrupted_addition_is_resumed(place, series_folder, store, monkeypatch):
    """While places are added: what is done remains, and is read."""
    some = sorted(series_folder.glob("step1_*"))
    batch_invert(some, place, BINS, **OPTIONS)
    before = read(place)["dem"].data.compute()
    create_, calls = Url.create, []

    def killed(self, content):
        if "step_done" in str(self):
            calls.append(self)
            raise KeyboardInterrupt
        return create_(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Url, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            batch_invert(series_folder, place, BINS, **OPTIONS)
    assert calls
    np.testing.assert_array_equal(read(place)["dem"].data.compute(), before)
    assert batch_status(place) == (1, 1, [])
    assert batch_invert(series_folder, place, BINS, **OPTIONS).counts == {"done": 2, "kept": 1, "failed": 0}
    np.testing.assert_array_equal(read(place)["dem"].data.compute(), read(store)["dem"].data.compute())


@in_memory
def test_request_that_comes_late_changes_nothing(place, series_folder, memory, monkeypatch):
    """What was sent first for each object, and was believed lost, arrives when all is done."""
    pipe_file, sent = type(memory).pipe_file, {}

    def keeps(self, path, *arguments, **how):
        sent.setdefault(path, (arguments, how))
        return pipe_file(self, path, *arguments, **how)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "pipe_file", keeps)
        batch_invert(sorted(series_folder.glob("step1_*")), place, BINS, **OPTIONS)
        batch_invert(series_folder, place, BINS, **OPTIONS)
    before = content_of(place)
    names = ["/out/dem.zarr/zarr.json", "/out/dem.zarr/dem/zarr.json", "/out/dem.zarr/step_done/zarr.json"]
    for name in names:
        arguments, how = sent[name]
        with contextlib.suppress(FileExistsError):
            memory.pipe_file(name, *arguments, **how)
    assert content_of(place) == before
    assert read(place)["dem"].shape[1] == 3


SHORTENED = [
    ("dem",),
    ("time", "image_date"),
    ("step_done",),
    ("step_done", "dem", "status"),
    ("step_done", "image_date", "exposure_time"),
]


@in_memory
@pytest.mark.parametrize("names", SHORTENED)
def test_arrays_that_a_late_request_has_shortened_are_repaired(place, series_folder, store, names):
    files = fsspec.filesystem(place.protocol)
    files.put(f"{store}/", str(place).partition("://")[2] + "/", recursive=True)
    whole = content_of(place)
    for name in names:
        documents.set_length(place, name, 1)
    assert content_of(place) != whole
    result = read(place)  # as it was
    np.testing.assert_array_equal(result["dem"].data.compute(), read(store)["dem"].data.compute())
    assert np.all(result["dem"].axis_world_coords("time")[0] == read(store)["dem"].axis_world_coords("time")[0])
    assert batch_status(place)[:2] == (3, 3)
    assert batch_invert(series_folder, place, BINS, **OPTIONS).counts == {"done": 0, "kept": 3, "failed": 0}
    assert content_of(place) == whole


@in_memory
@pytest.mark.parametrize("error", [ConnectionError, PermissionError])
def test_network_that_fails_is_no_other_store(place, series_folder, store, monkeypatch, error):
    """Neither one with another grid, nor none: it is told what is wrong, and nothing is changed."""
    files, open_store, calls = fsspec.filesystem(place.protocol), documents.open_store, []
    files.put(f"{store}/", str(place).partition("://")[2] + "/", recursive=True)
    before = content_of(place)

    def fails(*arguments, **how):
        calls.append(arguments)
        if len(calls) == which:
            raise error("no answer")
        return open_store(*arguments, **how)

    def run():
        batch_invert(series_folder, place, BINS, **OPTIONS)

    # Where the grid is looked up; where the store is opened; where it is told; where it has no bookkeeping.
    monkeypatch.setattr(documents, "open_store", fails)
    for which, call in (1, run), (2, run), (1, lambda: batch_status(place)), (1, run):  # noqa: B007 (of `fails`)
        calls.clear()
        if call is not run:
            for each in (place / "batch").children():
                each.unlink()
            before = content_of(place)
        with pytest.raises(error, match="no answer"):
            call()
        assert content_of(place) == before


@in_memory
def test_all_that_a_store_can_hold(place, series_folder, tmp_path):
    options = {"prepare_options": {"n_sample": 16}, "dtype": "float32", "contents": "inputs", "encoding": None}
    batch_invert(series_folder, place, BINS, **options)
    batch_invert(series_folder, tmp_path / "a.zarr", BINS, **options)
    assert content_of(place) == content_of(tmp_path / "a.zarr")
    again = read(place)["dem"].data.compute()
    np.testing.assert_array_equal(again, read(tmp_path / "a.zarr")["dem"].data.compute())


# ---- what must be kept


@in_memory
def test_what_others_put_there_is_kept(place, series_folder):
    cube = prepare(sorted(series_folder.glob("step0*.fits")), n_sample=16)
    result = invert(cube, TemperatureResponse.from_aia(cube), BINS)
    single = place.parent / "single.zarr"
    write(result, single)
    (place.parent / "notes.zarr" / "notes.txt").write_bytes(b"mine")
    (place.parent / "table.zarr" / "zarr.json").write_bytes(b'{"zarr_format": 3, "node_type": "group"}')
    batch_invert(series_folder, place, BINS, **OPTIONS)
    before = content_of(place.parent)
    for name, why in (("single", "it holds one result"), ("notes", "it holds other things"), ("table", "KeyError|'")):
        with pytest.raises(ValueError, match=rf"`path` .*{name}.zarr' exists but is not the store of a batch \({why}"):
            batch_invert(series_folder, place.parent / f"{name}.zarr", BINS, **OPTIONS)
    with pytest.raises(ValueError, match=r"`path` .* was made with other settings: dtype"):
        batch_invert(series_folder, place, BINS, **OPTIONS | {"dtype": "float64"})
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"no store at a URL is replaced"):
            write(result, place, overwrite=overwrite)
    assert content_of(place.parent) == before


@in_memory
def test_nothing_is_left_where_no_store_came_of_it(place, series_folder):
    (place.parent / "mine.txt").write_bytes(b"mine")
    files = [*series_folder.glob("*_171.fits"), series_folder / "step0_094.fits"]
    with pytest.raises(ValueError, match="`maps` hold no image of each channel"):
        batch_invert(files, place, BINS, tolerance=0 * u.s, **OPTIONS)
    assert content_of(place.parent) == {"mine.txt": b"mine"}
    with create.begun(place) as (folder, mine):
        with pytest.raises(ValueError, match="comes of it"), create.begun(place):
            raise ValueError("no store comes of it")
        assert (folder / "zarr.json").exists()  # another one is here
        assert mine.take("store") == (True, False)
    assert list(content_of(place)) == ["batch/zarr.json"]
    assert batch_invert(series_folder, place, BINS, **OPTIONS).is_complete


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://host.invalid/dem.zarr", r"must be on a disk, or begin with s3://, .* but is 'https://.*copy it"),
        ("sftp://host.invalid/dem.zarr", r"since a step is claimed by a file that only one process can create"),
        ("simplecache::s3://bucket/dem.zarr", r"without caches, .*: pass 's3://bucket/dem.zarr'"),
        ("memory://out/dem.fits", r"must end in .zarr"),
    ],
)
def test_places_for_no_batch(series_folder, url, words):
    with pytest.raises(ValueError, match=rf"`path` {words}|`path` .*{words}"):
        batch_invert(series_folder, url, BINS, **OPTIONS)


def test_server_that_does_not_create_exclusively(memory, series_folder, monkeypatch):
    pipe_file = type(memory).pipe_file
    monkeypatch.setattr(type(memory), "pipe_file", lambda self, path, value, **_: pipe_file(self, path, value))
    monkeypatch.setattr(claims, "_BEAT", 0.02)
    with pytest.raises(ValueError, match=r"`path`: memory://out/dem.zarr/batch/claims is no place .* replaces files"):
        batch_invert(series_folder, "memory://out/dem.zarr", BINS, **OPTIONS)
    time.sleep(0.2)  # nobody says any more to be here
    assert memory.find("/") == []


@in_memory
def test_one_that_begins_while_another_tidies_up_finds_its_folder(place, monkeypatch):
    document, unlink, stay = place / "batch" / "zarr.json", Url.unlink, Claims.stay
    late = Claims(place / "batch" / "claims")

    def stays_just_before(self):
        if self == document:
            late.stay()
        unlink(self)

    with late, monkeypatch.context() as patch:
        patch.setattr(Url, "unlink", stays_just_before)
        with pytest.raises(ValueError, match="comes of it"), create.begun(place):
            raise ValueError("no store comes of it")
        assert document.exists()
    unlink(document)

    def stays_just_after(self):
        document.unlink()
        stay(self)

    monkeypatch.setattr(Claims, "stay", stays_just_after)
    with create.begun(place):
        assert document.exists()


# ---- processes that were stopped


@in_memory
@pytest.mark.parametrize("begins_at", [0, 2, 15, 21])
def test_process_that_woke_up_too_late_changes_nothing(place, series_folder, store, monkeypatch, begins_at):
    """While it makes the store, and adds steps, another one takes its claim and does them all."""
    calls, is_mine, files = [], Claims.is_mine, fsspec.filesystem(place.protocol)

    def robbed(self, name):
        if name != "store":
            return is_mine(self, name)
        calls.append(name)
        if len(calls) > begins_at + 1:
            return False
        if len(calls) == begins_at + 1:
            files.put(f"{store}/", str(place).partition("://")[2] + "/", recursive=True)
            return False
        return True

    monkeypatch.setattr(Claims, "is_mine", robbed)
    with pytest.raises(RuntimeError, match="another one does its work now"):
        batch_invert(series_folder, place, BINS, **OPTIONS)
    assert without_bookkeeping(place) == without_bookkeeping(store)


# ---- several processes


def started(series_folder, url, *more):
    command = [sys.executable, "-m", "sunpy_demreg", "batch", str(series_folder), "--output", str(url), *CHOICES]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes):
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == len(processes) * [0], outputs
    return [line.split()[1] for _, err in outputs for line in err.splitlines() if " done, " in line]


@pytest.fixture(scope="module")
def by_command(series_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "whole.zarr"
    assert main(["batch", str(series_folder), "--output", str(path), *CHOICES]) == 0
    return without_bookkeeping(path)


def test_two_starts_at_once_in_s3_do_each_step_once(bucket, series_folder, by_command):
    place = Url(f"{bucket}/out/dem.zarr")
    done = ended([started(series_folder, place) for _ in range(2)])
    assert len(done) == len(set(done)) == 3
    assert without_bookkeeping(place) == by_command
    assert (place / "batch" / "claims").children() == []


def test_killed_process_leaves_nothing_undone_in_s3(bucket, series_folder, by_command):
    place = Url(f"{bucket}/out/dem.zarr")
    process = started(series_folder, place)
    for line in process.stderr:
        if " done, " in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert any(url.name.startswith("step-") for url in (place / "batch" / "claims").children())
    status = batch_status(place)
    assert (status.n_steps, status.in_progress) == (3, [])
    assert 1 <= status.n_done < 3
    assert len(ended([started(series_folder, place)])) == 3 - status.n_done
    assert without_bookkeeping(place) == by_command
    assert (place / "batch" / "claims").children() == []


def test_workers_write_to_s3(bucket, series_folder, store):
    place = Url(f"{bucket}/out/dem.zarr")
    assert batch_invert(series_folder, place, BINS, workers=2, **OPTIONS).counts["done"] == 3
    assert content_of(place) == content_of(store)


def test_script_of_an_array_is_only_submitted(memory, series_folder, tmp_path, monkeypatch, capsys):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\ncat > {shlex.quote(str(sbatch.parent))}/got\necho submitted\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command = ["batch", str(series_folder), "--output", "memory://out/dem.zarr", *CHOICES]
    assert main([*command, "--slurm=--array=1-2"]) == 0
    assert capsys.readouterr().out.split() == ["sbatch", "submitted"]
    assert shlex.split((sbatch.parent / "got").read_text().splitlines()[-1])[-len(command) :] == command
    assert not any((tmp_path / "here").iterdir())
