"""What several test files share: the bundled sample, prepared once, and a plain synthetic instrument."""

import json
import sys
import urllib.request

import numpy as np
import pytest

import astropy.units as u


@pytest.fixture(autouse=True)
def _no_figures_left():
    """Plots go to the current axes: those of another test must not be there."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def anywhere(request, monkeypatch):
    """A GPU. What needs to know nothing of the stand-in is tested on a real device too, where there is one."""
    if request.param == "device":
        yield
    else:
        import fake_cupy

        with fake_cupy.installed(monkeypatch):
            yield


@pytest.fixture(scope="session")
def cube():
    """The channel cube of the bundled sample (synoptic maps: averages of 4 x 4 pixels)."""
    import sunpy_demreg

    return sunpy_demreg.prepare(sunpy_demreg.sample.aia_maps(), n_sample=16)


@pytest.fixture(scope="session")
def response(cube):
    import sunpy_demreg

    return sunpy_demreg.TemperatureResponse.from_aia(cube)


@pytest.fixture(scope="session")
def edges():
    return 10 ** np.arange(5.6, 7.41, 0.05) * u.K


@pytest.fixture(scope="session")
def small(cube):
    """A corner of the sample where all pixels have counts in all channels."""
    good = np.all(cube.data > 0, axis=0)
    for y in range(0, good.shape[0] - 6, 3):
        for x in range(0, good.shape[1] - 7, 3):
            if good[y : y + 6, x : x + 7].all():
                return cube[:, y : y + 6, x : x + 7]
    raise AssertionError("the sample has no such corner")


@pytest.fixture(scope="session")
def part(cube):
    """Of real data, with a few bad pixels."""
    from ndcube import NDCube

    part = cube[:, 40:53, 90:107]
    data, mask = part.data.copy(), part.mask.copy()
    data[2:4, 3, 4], data[1, 5, 5], mask[3, 7, 7] = np.nan, -1, True  # the last two can be solved
    return NDCube(data, part.wcs, unit=part.unit, uncertainty=part.uncertainty, mask=mask, meta=part.meta)


@pytest.fixture(scope="session")
def series_folder(tmp_path_factory):
    """FITS files of three times, two minutes apart: corners of the bundled maps that brighten."""
    from sunpy.map import Map

    import sunpy_demreg

    folder = tmp_path_factory.mktemp("series")
    for k in range(3):
        for smap in sunpy_demreg.sample.aia_maps():
            header = {key: value for key, value in smap.meta.items() if key not in ("t_obs", "bitpix", "keycomments")}
            header["date-obs"] = (smap.date + k * 120 * u.s).isot
            data = smap.data[40:60, 90:112] * (1 + 0.1 * k)
            Map(data.astype("float32"), header).save(folder / f"step{k}_{header['wavelnth']:03d}.fits")
    return folder


@pytest.fixture
def memory():
    """A file system in memory, empty before and after."""
    import fsspec

    files = fsspec.filesystem("memory")
    yield files
    for name in list(files.store):
        del files.store[name]
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def bucket(monkeypatch):
    """A bucket on an S3 server of its own on this machine, where moto and s3fs are installed."""
    import fsspec

    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    options = {"endpoint_url": address, "key": "any", "secret": "any", "client_kwargs": {"region_name": "eu-west-1"}}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    monkeypatch.setenv("FSSPEC_S3", json.dumps(options))  # of other processes
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    with urllib.request.urlopen(f"{address}/moto-api/reset", data=b""):  # what it holds is that of the process
        pass
    server.stop()
