"""Inputs where they are: files and stores by their URLs, in memory, on a web server, on the disk, and in S3."""

import http.server
import json
import os
import pickle
import shutil
import socket
import threading
import time
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

import astropy.units as u
from astropy.table import QTable
from sunpy.map import Map

import sunpy_demreg
from sunpy_demreg import (
    TemperatureResponse,
    batch_invert,
    batch_status,
    invert,
    prepare,
    prepare_series,
    read,
    read_sdoml,
    write,
)
from sunpy_demreg._channels.fits_maps import lazy_map
from sunpy_demreg._cli.main import main
from sunpy_demreg._common import urls
from sunpy_demreg._common.paths import matching_paths
from sunpy_demreg._common.urls import file_of

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)")
CHANNELS = "094", "131", "171", "193", "211", "335"
BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32"}


@pytest.fixture
def web(tmp_path):
    """A web server of a folder, as plain as can be: it lists folders, and sends only whole files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def folder(series_folder):
    return series_folder


@pytest.fixture(scope="module")
def result(folder):
    cube = prepare(sorted(folder.glob("step0*.fits")), n_sample=16)
    return invert(cube, TemperatureResponse.from_aia(cube), BINS)


@pytest.fixture(scope="module")
def here(folder, tmp_path_factory):
    """The store of a batch of the files on the disk."""
    store = tmp_path_factory.mktemp("here") / "dem.zarr"
    assert batch_invert(folder, store, BINS, **OPTIONS).is_complete
    return store


def upload(files, folder, place):
    for path in sorted(folder.glob("*.fits")):
        files.pipe_file(f"{place}/{path.name}", path.read_bytes())


def check_same(one, other):
    assert list(one) == list(other)
    for key in one:
        np.testing.assert_array_equal(np.asarray(one[key].data), np.asarray(other[key].data), err_msg=key)


# ---- names


def test_what_is_a_url():
    assert file_of("file:///a%20b/c.fits") == file_of("/a b/c.fits")
    url = file_of("simplecache::s3://bucket/a/dem.zarr/", "maps")
    assert (url.protocol, url.name, url.suffix, url.argument) == ("s3", "dem.zarr", ".zarr", "maps")
    assert str(url / "dem" / "zarr.json") == "simplecache::s3://bucket/a/dem.zarr/dem/zarr.json"
    assert str(url / "" / "zarr.json") == "simplecache::s3://bucket/a/dem.zarr/zarr.json"
    assert file_of("https://host/a.fits?token=x/y").name == "a.fits"
    query = file_of("https://host/sun?sig=a/b")
    assert str(query / "a.fits") == "https://host/sun/a.fits?sig=a/b"
    assert str(file_of("memory://a?b") / "c") == "memory://a?b/c"
    assert pickle.loads(pickle.dumps(url)) == url
    assert pickle.loads(pickle.dumps(url)).argument == "maps"


def test_files_of_this_machine():
    assert file_of("file://localhost/a/c.fits") == file_of("file:///a/c.fits") == Path("/a/c.fits")
    with pytest.raises(
        ValueError, match=r"`path`: file://other/c.fits names a file of the machine 'other', .*file:///"
    ):
        read("file://other/c.fits")


def test_stores_have_no_query():
    for call in (read, batch_status):
        with pytest.raises(ValueError, match=r"`path`: https://host.invalid/a.zarr\?sig=1 has a query .*: pass the"):
            call("https://host.invalid/a.zarr?sig=1")
    with pytest.raises(ValueError, match=r"`store`: https://host.invalid/sdoml\?sig=1 has a query"):
        read_sdoml("https://host.invalid/sdoml?sig=1", "2014-01-01", "2014-01-02")


def test_wildcards(memory, folder):
    upload(memory, folder, "/sun")
    names = [path.name for path in sorted(folder.glob("step1*.fits"))]
    assert [url.name for url in matching_paths("memory://sun/step1*.fits")] == names
    assert str(matching_paths("memory://sun/step1*.fits")[0]) == f"memory://sun/{names[0]}"
    assert str(matching_paths("simplecache::memory://sun/step1_[1]71.fits")[0]).startswith("simplecache::memory://sun")
    assert matching_paths("memory://sun/step9*.fits") == matching_paths("memory://sun/step9.fits") == []


# ---- inputs


@pytest.mark.parametrize("caches", ["", "simplecache::"])
def test_files_in_memory_are_as_on_the_disk(memory, folder, result, caches):
    upload(memory, folder, "/sun")
    cube = prepare(f"{caches}memory://sun/step0*.fits", n_sample=16)
    assert tuple(cube.meta["channels"]) == tuple(result.meta["channels"])
    check_same(invert(cube, TemperatureResponse.from_aia(cube), BINS), result)


def test_series_of_a_folder_is_as_on_the_disk(memory, folder):
    upload(memory, folder, "/sun")
    here, there = (prepare_series(place, n_sample=16) for place in (folder, "memory://sun"))
    np.testing.assert_array_equal(here.data.compute(), there.data.compute())
    np.testing.assert_array_equal(here.uncertainty.array.compute(), there.uncertainty.array.compute())
    assert there.data.shape[1] == 3


def test_lazy_image_is_fetched_once(memory, tmp_path, monkeypatch):
    data = np.arange(600 * 8.0, dtype="float32").reshape(600, 8)
    header = Map(sunpy_demreg.sample.aia_maps()[0]).meta
    Map(data, {k: v for k, v in header.items() if k not in ("bitpix", "keycomments")}).save(tmp_path / "a.fits")
    memory.pipe_file("/a.fits", (tmp_path / "a.fits").read_bytes())
    smap, problem = lazy_map(file_of("memory://a.fits"))
    assert smap.data.numblocks == (3, 1)
    assert problem is None
    opened = []
    monkeypatch.setattr(type(memory), "_open", counting(type(memory)._open, opened))
    np.testing.assert_array_equal(smap.data.compute(), data)
    assert len(opened) == 1


def counting(function, calls):
    def counted(*args, **kwargs):
        calls.append(args[1:])
        return function(*args, **kwargs)

    return counted


@pytest.mark.parametrize("form", ["memory://sun", "memory://sun/*.fits", "file://{}"])
def test_batch_of_urls_gives_the_same_store(memory, folder, here, tmp_path, form):
    upload(memory, folder, "/sun")
    there = tmp_path / "there.zarr"
    assert batch_invert(form.format(folder), there, BINS, **OPTIONS).counts["done"] == 3
    check_same(read(here), read(there))
    # And each is looked at only once.
    assert batch_invert(form.format(folder), there, BINS, **OPTIONS).counts["kept"] == 3


def test_batch_sees_that_a_file_at_a_url_has_changed(memory, folder, tmp_path):
    upload(memory, folder, "/sun")
    batch_invert("memory://sun", tmp_path / "a.zarr", BINS, **OPTIONS)
    old = read(tmp_path / "a.zarr")["intensity"].data.compute()
    smap = Map(folder / "step1_171.fits")
    header = {k: v for k, v in smap.meta.items() if k not in ("bitpix", "keycomments")} | {"comment": "repaired"}
    Map(2 * smap.data, header).save(tmp_path / "new.fits")
    memory.pipe_file("/sun/step1_171.fits", (tmp_path / "new.fits").read_bytes())
    assert batch_invert("memory://sun", tmp_path / "a.zarr", BINS, **OPTIONS).counts["done"] == 1
    new = read(tmp_path / "a.zarr")["intensity"].data.compute()
    np.testing.assert_allclose(new[2, 1], 2 * old[2, 1], rtol=1e-6)


def test_a_file_that_cannot_be_read_stops_no_batch(memory, folder, tmp_path):
    upload(memory, folder, "/sun")
    memory.pipe_file("/sun/step1_171.fits", b"no FITS file")
    report = batch_invert("memory://sun", tmp_path / "a.zarr", BINS, **OPTIONS)
    assert [name for name, _ in report.left_over] == ["memory://sun/step1_171.fits"]
    assert report.counts["done"] == 3
    assert "no image of 171" in report.steps[1].reason


def test_tables_and_maps_beside_the_images(memory, folder, tmp_path):
    upload(memory, folder, "/sun")
    table = sunpy_demreg._channels.uncertainty._ERROR_TABLE
    memory.pipe_file("/errors.txt", table.read_bytes())
    files = sorted(folder.glob("step0*.fits"))
    plain = prepare(files, n_sample=16)
    options = {"reference": "memory://sun/step0_171.fits", "error_table": "memory://errors.txt"}
    there = prepare(files, n_sample=16, **options)
    np.testing.assert_allclose(there.data, plain.data, rtol=1e-6)
    degradation = sunpy_demreg.response._aia
    bundled = degradation.files(degradation.__package__) / "data" / degradation.BUNDLED_TABLE
    memory.pipe_file("/degradation.txt", bundled.read_bytes())
    response = TemperatureResponse.from_aia(plain, correction_table="memory://degradation.txt")
    np.testing.assert_array_equal(response.response, TemperatureResponse.from_aia(plain).response)
    response.write("memory://response.ecsv")
    np.testing.assert_array_equal(TemperatureResponse.read("memory://response.ecsv").response, response.response)
    with pytest.raises(FileNotFoundError, match=r"`error_table`: there is no file memory://none.txt"):
        prepare(files, n_sample=16, error_table="memory://none.txt")
    pointing = QTable({"T_START": [1], "T_STOP": [2]})
    pointing.write(tmp_path / "pointing.ecsv")
    memory.pipe_file("/pointing.ecsv", (tmp_path / "pointing.ecsv").read_bytes())
    with pytest.raises(ValueError, match=r"level 1"):  # it is read before
        prepare(files, n_sample=16, pointing_table="memory://pointing.ecsv")


# ---- results


@pytest.mark.parametrize("name", ["dem.fits", "dem.fits.gz", "dem.asdf", "dem.zarr"])
def test_results_at_urls(memory, result, name):
    write(result, f"memory://out/{name}")
    check_same(read(f"memory://out/{name}"), result)
    with pytest.raises(FileExistsError, match=r"`path` 'memory://out/dem.*' exists"):
        write(result, f"memory://out/{name}")
    if name.endswith(".zarr"):
        check_same(read(f"simplecache::memory://out/{name}"), result)
        with pytest.raises(FileExistsError, match=r"no store at a URL is replaced"):
            write(result, f"memory://out/{name}", overwrite=True)
    else:
        write(result[:, :4], f"memory://out/{name}", overwrite=True)
        assert read(f"memory://out/{name}")["status"].data.shape[1] == 4
    with pytest.raises(FileNotFoundError, match=f"`path`: there is no file 'memory://none/{name}'"):
        read(f"memory://none/{name}")


def test_lazy_results_with_shards_at_urls(memory, folder, tmp_path):
    series = prepare_series(folder, n_sample=16)
    lazy = invert(series, TemperatureResponse.from_aia(series), BINS, dtype="float32")
    write(lazy, "memory://out/series.zarr", encoding="bitround")
    write(lazy, tmp_path / "series.zarr", encoding="bitround")
    check_same(read("memory://out/series.zarr"), read(tmp_path / "series.zarr"))
    names = {path.relative_to(tmp_path / "series.zarr").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name.removeprefix("/out/series.zarr/") for name in memory.find("/out/series.zarr")} == names


def test_inputs_at_urls(memory, result):
    write(result, "memory://out/inputs.zarr", contents="inputs")
    again = read("memory://out/inputs.zarr")
    np.testing.assert_allclose(again["dem"].data.compute(), result["dem"].data, rtol=1e-3, atol=1e18)


def test_nothing_is_left_of_a_store_that_could_not_be_written(memory, result, monkeypatch):
    def fails(*_):
        raise OSError("no more room")

    monkeypatch.setattr("sunpy_demreg._files.zarr.seal", fails)
    with pytest.raises(OSError, match="no more room"):
        write(result, "memory://out/dem.zarr")
    assert not memory.find("/out")


def test_a_store_whose_writing_did_not_end_is_none(memory, result, monkeypatch):
    write(result, "memory://out/dem.zarr")
    document = json.loads(memory.cat_file("/out/dem.zarr/zarr.json"))
    del document["attributes"]["sha256"]  # which is written last
    memory.pipe_file("/out/dem.zarr/zarr.json", json.dumps(document).encode())
    with pytest.raises(ValueError, match=r"is not a result that sunpy_demreg.write wrote, or is damaged"):
        read("memory://out/dem.zarr")


def test_damaged_documents_are_no_trouble_of_the_network(memory, result):
    write(result, "memory://out/dem.zarr")
    memory.pipe_file("/out/dem.zarr/zarr.json", b"{")
    with pytest.raises(ValueError, match=r"'memory://out/dem.zarr' is not a result .* or is damaged"):
        read("memory://out/dem.zarr")
    with pytest.raises(ValueError, match=r"exists but is not the store of a batch"):
        batch_status("memory://out/dem.zarr")


def test_damaged_chunk_is_named(memory, result):
    write(result, "memory://out/dem.zarr")
    [name] = memory.find("/out/dem.zarr/dem/c")
    content = bytearray(memory.cat_file(name))
    content[len(content) // 2] ^= 1
    memory.pipe_file(name, bytes(content))
    with pytest.raises(ValueError, match=r"'memory://out/dem.zarr' is damaged: dem cannot be read"):
        read("memory://out/dem.zarr")["dem"].data.compute()


def test_copied_store_of_a_batch(memory, here):
    memory.put(str(here), "/out/dem.zarr", recursive=True)
    check_same(read("memory://out/dem.zarr"), read(here))
    assert batch_status("memory://out/dem.zarr") == batch_status(here) == (3, 3, [])
    with pytest.raises(FileNotFoundError, match=r"`path`: there is no store memory://out/none.zarr"):
        batch_status("memory://out/none.zarr")


# ---- a web server


def test_web_server(web, folder, result):
    place, address = web
    shutil.copytree(folder, place / "sun")
    cube = prepare([f"{address}/sun/step0_{channel}.fits" for channel in CHANNELS], n_sample=16)
    check_same(invert(cube, TemperatureResponse.from_aia(cube), BINS), result)
    series = prepare_series(f"{address}/sun/*.fits", n_sample=16)  # a server without parts of files, lazily
    np.testing.assert_array_equal(series.data.compute(), prepare_series(folder, n_sample=16).data.compute())
    write(result, place / "dem.zarr")
    write(result, place / "dem.fits")
    check_same(read(f"{address}/dem.zarr"), result)
    check_same(read(f"{address}/dem.fits"), result)
    with pytest.raises(FileNotFoundError, match=f"`path`: there is no file '{address}/none.zarr'"):
        read(f"{address}/none.zarr")
    with pytest.raises(FileNotFoundError, match=f"`maps`: there is no file {address}/none.fits"):
        prepare(f"{address}/none.fits")


def test_cache_is_opt_in_and_where_it_is_said(web, folder, tmp_path, monkeypatch):
    place, address = web
    shutil.copytree(folder, place / "sun")
    cache = tmp_path / "cache"
    monkeypatch.setitem(fsspec.config.conf, "filecache", {"cache_storage": str(cache)})
    plain = prepare([f"{address}/sun/step0_{channel}.fits" for channel in CHANNELS], n_sample=16)
    assert not cache.exists()
    names = [f"filecache::{address}/sun/step0_{channel}.fits" for channel in CHANNELS]
    cached = prepare(names, n_sample=16)
    assert len([path for path in cache.iterdir() if path.name != "cache"]) == 6
    np.testing.assert_array_equal(cached.data, plain.data)


# ---- what goes wrong


def test_no_server_answers(tmp_path, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    for call, argument in (
        (lambda: read(f"{address}/dem.fits"), "path"),
        (lambda: prepare(f"{address}/aia.fits"), "maps"),
        (lambda: batch_invert(f"{address}/*.fits", tmp_path / "a.zarr", BINS), "maps"),
    ):
        with pytest.raises(ConnectionError, match=f"`{argument}`: {address}/.* cannot be reached .*Error"):
            call()
    assert not (tmp_path / "a.zarr").exists()


def test_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(urls, "_READ", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=f"`path`: {address}/dem.fits cannot be reached .*Timeout"):
            read(f"{address}/dem.fits")
    assert time.monotonic() - start < 10


def test_protocols_that_are_not_known_or_not_installed():
    with pytest.raises(ValueError, match=r"`path`: nowhere://a.fits cannot be opened: Protocol not known: nowhere"):
        read("nowhere://a.fits")
    fsspec.register_implementation("missing", "none_such.Files", clobber=True, errtxt="Install none_such")
    with pytest.raises(ImportError, match=r"missing://a.fits needs .*Install none_such.*sunpy-demreg\[remote\]"):
        read("missing://a.fits")


def test_refused(memory, monkeypatch):
    def refuses(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "info", refuses)
    with pytest.raises(PermissionError, match=r"`path`: memory://a.fits cannot be reached .*Access Denied"):
        read("memory://a.fits")


# ---- the command line


def test_command_line(memory, folder, tmp_path, capsys):
    upload(memory, folder, "/sun")
    store = tmp_path / "dem.zarr"
    assert main(["batch", "memory://sun", "--output", str(store), "--n-sample", "16"]) == 0
    assert "3 of 3" in capsys.readouterr().out
    memory.put(str(store), "/out/dem.zarr", recursive=True)
    assert main(["batch", "--output", "memory://out/dem.zarr", "--status"]) == 0
    assert "3 of 3 time steps" in capsys.readouterr().out
    assert main(["info", "memory://out/dem.zarr"]) == 0
    assert "AIA 94" in capsys.readouterr().out
    files = [f"memory://sun/step0_{channel}.fits" for channel in CHANNELS]
    corners = ["--submap", "-1200", "-1200", "1200", "1200"]
    output = ["--output", str(tmp_path / "dem.fits")]
    assert main(["invert", *files, *output, "--n-sample", "16", *corners]) == 0
    assert "AIA 94" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["invert", *files, "--output", "memory://out/dem.fits"])
    assert "must be a file on a disk" in capsys.readouterr().err
    assert main(["batch", *files, "--output", "memory://out/new.zarr", "--n-sample", "16"]) == 0
    assert "memory://out/new.zarr" in capsys.readouterr().out
    assert main(["batch", *files, "--output", "https://host.invalid/new.zarr"]) == 1
    assert "`--output` must be on a disk, or begin with s3://" in capsys.readouterr().err


# ---- S3: a server of its own on this machine, where moto and s3fs are installed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_s3(bucket, folder, result, tmp_path):
    files = fsspec.filesystem("s3")
    upload(files, folder, "bucket/sun")
    cube = prepare(f"{bucket}/sun/step0*.fits", n_sample=16)
    check_same(invert(cube, TemperatureResponse.from_aia(cube), BINS), result)
    assert batch_invert(f"{bucket}/sun", tmp_path / "dem.zarr", BINS, **OPTIONS).counts["done"] == 3
    files.put(str(tmp_path / "dem.zarr"), "bucket/dem.zarr", recursive=True)
    check_same(read(f"{bucket}/dem.zarr"), read(tmp_path / "dem.zarr"))
    assert batch_status(f"{bucket}/dem.zarr").is_complete
    for name in ("one.zarr", "one.fits", "one.asdf"):
        write(result, f"{bucket}/out/{name}")
        check_same(read(f"{bucket}/out/{name}"), result)
    with pytest.raises(FileExistsError, match=r"no store at a URL is replaced"):
        write(result, f"{bucket}/out/one.zarr")
    with pytest.raises(FileNotFoundError, match=f"there is no file '{bucket}/none.fits'"):
        read(f"{bucket}/none.fits")
    assert os.environ.get("FSSPEC_S3_ANON") is None
    # Files that others add are seen.
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    assert len(matching_paths(f"{bucket}/sun/*.fits")) == 18
    with pytest.raises(FileNotFoundError):
        read(f"{bucket}/sun/late.fits")
    other.pipe_file("bucket/sun/late.fits", files.cat_file("bucket/out/one.fits"))
    assert len(matching_paths(f"{bucket}/sun/*.fits")) == 19
    check_same(read(f"{bucket}/sun/late.fits"), result)
