"""Batches: every step as by hand, started again where they ended, and nothing lost to bad files or a full disk."""

import errno
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.resources import as_file
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import pytest
import zarr

import astropy.units as u
from aiapy.calibrate.utils import get_correction_table
from astropy.time import Time
from sunpy.map import Map

from sunpy_demreg import (
    DataWarning,
    LogNormalPrior,
    TemperatureResponse,
    UnsolvedWarning,
    batch_invert,
    emission_measure,
    invert,
    prepare,
    prepare_series,
    read,
    to_map,
    write,
)
from sunpy_demreg._batch import same, settings, where
from sunpy_demreg._cli.main import main
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg.response._emissivity import load_emissivity

V8_TABLE = resources("aiapy") / "tests/data/aia_V8_20171210_050627_response_table.txt"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pixels were not solved"),
    # Silenced where it is made, but in Python 3.12 two threads that silence warnings get in each other's way.
    pytest.mark.filterwarnings("ignore::erfa.ErfaWarning"),
]
BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32"}


@pytest.fixture(scope="module")
def store(series_folder, tmp_path_factory):
    """What a batch without any trouble makes."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    report = batch_invert(series_folder, path, BINS, **OPTIONS)
    assert [step.outcome for step in report.steps] == ["done"] * 3
    assert report.is_complete
    return path


@pytest.fixture(scope="module")
def steps(series_folder):
    """The files of each step."""
    return [sorted(series_folder.glob(f"step{k}_*")) for k in range(3)]


@pytest.fixture(scope="module")
def two_steps(steps, tmp_path_factory):
    """A store of the first two steps."""
    path = tmp_path_factory.mktemp("store") / "two.zarr"
    batch_invert([*steps[0], *steps[1]], path, BINS, **OPTIONS)
    return path


def files_of(path):
    """Of a store, with their contents, but for those about where its input was."""
    files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not name.startswith("batch/")}


@pytest.fixture
def folder(series_folder, tmp_path):
    """A copy of the files, to spoil."""
    return Path(shutil.copytree(series_folder, tmp_path / "files"))


def test_every_step_is_as_by_hand(series_folder, store):
    result = read(store)
    for k in range(3):
        cube = prepare(sorted(map(str, series_folder.glob(f"step{k}_*"))), n_sample=16, correct_degradation=True)
        expected = invert(cube, TemperatureResponse.from_aia(cube), BINS, dtype="float32")
        for key, each in expected.items():
            np.testing.assert_array_equal(result[k][key].data.compute(), each.data)
        np.testing.assert_array_equal(result[k]["dem"].uncertainty.array.compute(), expected["dem"].uncertainty.array)
        assert np.all(abs(result.meta["observation"]["date"][:, k] - cube.meta["date"]) < 1 * u.us)
        assert np.all(result.meta["observation"]["exposure_time"][:, k] == cube.meta["exposure_time"])
    assert "common_error" not in result.meta["observation"]  # which is different in each step


def test_unsolved_pixels_of_all_steps_are_told_once(folder, tmp_path):
    for k in (0, 1):
        for channel in (171, 193):
            smap = Map(folder / f"step{k}_{channel}.fits")
            smap.data[3, 4 : 6 + k] = np.nan
            smap.save(folder / f"step{k}_{channel}.fits", overwrite=True)
    with pytest.warns(UnsolvedWarning) as caught:
        batch_invert([*folder.glob("step0*"), *folder.glob("step1*")], tmp_path / "a.zarr", BINS, **OPTIONS)
    [message] = [str(each.message) for each in caught if each.category is UnsolvedWarning]
    assert message.startswith("5 of 880 pixels were not solved and are masked (NOT_FINITE 5)")


def test_misfits_of_all_steps_are_told_once(steps, tmp_path):
    with pytest.warns(UnsolvedWarning) as caught:
        batch_invert([*steps[0], *steps[1]], tmp_path / "a.zarr", 10 ** np.arange(6.3, 7.31, 0.1) * u.K, **OPTIONS)
    [message] = [str(each.message) for each in caught if each.category is UnsolvedWarning]
    assert message.startswith("880 of 880 solved pixels do not fit")


def test_script_without_a_guard_ends_with_the_cure(steps, tmp_path):
    pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(
        "import astropy.units as u\n"
        "from sunpy_demreg import batch_invert\n"
        f"files = {[str(f) for f in steps[0]]!r}\n"
        "batch_invert(files, 'store.zarr', [5e5, 1e6, 2e6, 4e6] * u.K, prepare_options={'n_sample': 16}, workers=1)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert "`workers` cannot be started" in last
    assert last.endswith("in a script, the call must stand under `if __name__ == '__main__':`")


def test_response_of_each_step_has_the_options_asked_for(series_folder, tmp_path):
    files = sorted(map(str, series_folder.glob("step1_*")))
    options = {"eve": False, "crosstalk": False}
    path = tmp_path / "other.zarr"
    batch_invert(files, path, BINS, response_options=options, **OPTIONS)
    cube = prepare(files, n_sample=16, correct_degradation=True)
    expected = invert(cube, TemperatureResponse.from_aia(cube, **options), BINS, dtype="float32")
    np.testing.assert_array_equal(read(path)[0]["dem"].data.compute(), expected["dem"].data)
    with pytest.raises(ValueError, match="response crosstalk is False there and True now"):
        batch_invert(files, path, BINS, **OPTIONS)
    with pytest.raises(ValueError, match="`response_options` has 'degradation', which follows from each step"):
        batch_invert(files, path, BINS, response_options={"degradation": False}, **OPTIONS)


@pytest.mark.filterwarnings("ignore:.* do not fit")
def test_tables_and_spectra_among_the_options(series_folder, tmp_path):
    files = sorted(map(str, series_folder.glob("step1_*")))
    path = tmp_path / "given.zarr"
    with as_file(V8_TABLE) as file:
        table = get_correction_table(file)
    bundled = load_emissivity()
    spectra = bundled.temperature[::2], bundled.wavelength[::4], bundled.spectrum[::2, ::4]
    given = {"correction_table": table, "emissivity": spectra}
    options = OPTIONS | {"prepare_options": {"n_sample": 16, "correct_degradation": True}}
    report = batch_invert(files, path, BINS, response_options=given, **options)
    assert report.is_complete
    cube = prepare(files, n_sample=16, correct_degradation=True, correction_table=table)
    response = TemperatureResponse.from_aia(cube, **given)
    expected = invert(cube, response, BINS, dtype="float32")
    np.testing.assert_array_equal(read(path)[0]["dem"].data.compute(), expected["dem"].data)
    # The same again is known to be the same, and what differs somewhere in the middle is known to differ.
    same = {"correction_table": table.copy(), "emissivity": tuple(each.copy() for each in spectra)}
    again = batch_invert(files, path, BINS, response_options=same, **options)
    assert [step.outcome for step in again.steps] == ["kept"]
    other = table.copy()
    other["EFF_AREA"][len(other) // 2] *= 1.01
    brighter = spectra[2].copy()
    brighter[20, 500] *= 1.01
    for name, value in {"correction_table": other, "emissivity": (*spectra[:2], brighter)}.items():
        with pytest.raises(ValueError, match=f"response {name} is .* there and .* now") as caught:
            batch_invert(files, path, BINS, response_options=same | {name: value}, **options)
        assert len(str(caught.value)) < 600


def test_interrupted_batch_goes_on(steps, two_steps, tmp_path, monkeypatch):
    def interrupt(n_steps, step):
        raise KeyboardInterrupt

    path, files = tmp_path / "a.zarr", [*steps[0], *steps[1]]
    with pytest.raises(KeyboardInterrupt):
        batch_invert(files, path, BINS, **OPTIONS, on_step=interrupt)
    done = np.flatnonzero(zarr.open_group(path)["step_done"][:])
    assert done.size == 1
    assert read(path)["dem"].data.shape[1] == 1  # the steps that are whole
    # What is left of the others does not count: here one that looks half-written.
    half = next(k for k in range(2) if k not in done)
    zarr.open_group(path)["dem"][:, half, :10] = 7
    report = batch_invert(files, path, BINS, **OPTIONS)
    assert sorted(step.outcome for step in report.steps) == ["done", "kept"]
    assert files_of(path) == files_of(two_steps)
    monkeypatch.setattr(where, "_submitter", None)  # nothing to compute, nothing to start
    report = batch_invert(files, path, BINS, **OPTIONS)
    assert [step.outcome for step in report.steps] == ["kept"] * 2


def test_later_steps_are_added(steps, store, two_steps, tmp_path):
    path = shutil.copytree(two_steps, tmp_path / "a.zarr")
    batch_invert(steps[2], path, BINS, **OPTIONS)  # the others need not be there any more
    assert read(path)["dem"].data.shape[1] == 3
    same, whole = files_of(path), files_of(store)
    assert all(same[name] == whole[name] for name in whole if "/c/" in name)


def test_earlier_steps_are_added_and_read_in_order(steps, store, tmp_path):
    path = tmp_path / "a.zarr"
    for k in (2, 0, 1):
        batch_invert(steps[k], path, BINS, **OPTIONS)
    assert np.all(np.diff(zarr.open_group(path)["time"][:]) != 1)
    result, expected = read(path), read(store)
    for key in expected:
        np.testing.assert_array_equal(result[key].data, expected[key].data)
    for key in ("date", "exposure_time"):
        assert np.all(result.meta["observation"][key] == expected.meta["observation"][key])
    assert np.all(result["dem"].axis_world_coords("time")[0] == expected["dem"].axis_world_coords("time")[0])


def test_bad_files_are_reported_and_skipped(folder, store, tmp_path, capsys):
    truncated, damaged = folder / "step1_171.fits", folder / "step2_193.fits"
    truncated.write_bytes(truncated.read_bytes()[:-2000])
    smap = Map(damaged)
    smap.meta["exptime"] = 0
    smap.save(damaged, overwrite=True)
    (folder / "garbage.fits").write_bytes(b"garbage")
    path = tmp_path / "a.zarr"
    seen = []
    report = batch_invert(folder, path, BINS, **OPTIONS, on_step=lambda n, step: seen.append((n, step)))
    assert [step.outcome for step in report.steps] == ["done", "failed", "failed"]
    assert "step1_171.fits: File may have been truncated" in report.steps[1].reason
    assert "step2_193.fits must have a positive" in report.steps[2].reason
    assert "must have a positive exposure time" in report.steps[2].reason
    assert [(Path(name).name, reason[:15]) for name, reason in report.left_over] == [
        ("garbage.fits", "cannot be read,")
    ]
    assert not report.is_complete
    assert sorted(step for _, step in seen) == sorted(report.steps)
    np.testing.assert_array_equal(read(path)[0:1]["dem"].data.compute(), read(store)[0:1]["dem"].data.compute())
    # The command says the same, and its exit status too.
    command = ["batch", str(folder), "--n-sample", "16", "--log-t", "5.6", "7.4", "0.2", "--output"]
    assert main([*command, str(tmp_path / "b.zarr")]) == 1
    output = capsys.readouterr()
    assert "1 of 3 time steps" in output.out
    assert "garbage.fits: cannot be read" in output.out
    assert "2014-01-01T00:02:05" in output.out
    assert "failed: " in output.err


def test_command(series_folder, store, tmp_path, capsys):
    command = ["batch", str(series_folder / "step0_*.fits"), "--n-sample", "16", "--log-t", "5.6", "7.4", "0.2"]
    path = tmp_path / "a.zarr"
    assert main([*command, "--output", str(path)]) == 0
    output = capsys.readouterr()
    assert "1 of 1 time steps" in output.out
    assert output.err.count("done, ") == 1
    np.testing.assert_array_equal(read(path)["dem"].data.compute(), read(store)[0:1]["dem"].data.compute())
    assert main([*command, "--output", str(path), "--positivity", "constrain"]) == 1
    assert "`--output` " in (error := capsys.readouterr().err)
    assert "positivity is relax there and constrain now" in error


def test_full_disk_ends_the_batch_and_keeps_what_is_whole(steps, two_steps, tmp_path, monkeypatch):
    path, files, write = tmp_path / "a.zarr", [*steps[0], *steps[1]], zarr.storage.LocalStore.set
    is_full = [False]

    async def set_or_full(self, key, value, *args, **options):
        if is_full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await write(self, key, value, *args, **options)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", set_or_full)
    with pytest.raises(OSError, match="No space left on device"):
        batch_invert(files, path, BINS, **OPTIONS, on_step=lambda n, step: is_full.__setitem__(0, True))
    result = read(path)
    assert result["dem"].data.shape[1] == 1
    k = int(np.flatnonzero(zarr.open_group(path)["step_done"][:])[0])
    np.testing.assert_array_equal(result[0]["dem"].data.compute(), read(two_steps)[k]["dem"].data.compute())
    is_full[0] = False
    batch_invert(files, path, BINS, **OPTIONS)
    assert files_of(path) == files_of(two_steps)


def test_what_is_lost_of_a_done_step_is_missed_and_can_be_done_again(series_folder, store, tmp_path):
    path = Path(shutil.copytree(store, tmp_path / "a.zarr"))
    (path / "chi_squared" / "c" / "1" / "0" / "0").unlink()
    result = read(path)
    with pytest.raises(ValueError, match=r"`path` .* is damaged: chi_squared cannot be read .*'c/1/0/0'"):
        result["chi_squared"].data.compute()
    assert result["chi_squared"].data[0].compute().shape == (20, 22)
    # Whether it is done is not known of this step any more: it is done again.
    (path / "step_done" / "c" / "1").unlink()
    with pytest.raises(ValueError, match=r"(?s)`path` .*, or is damaged .*c/1"):
        read(path)
    report = batch_invert(series_folder, path, BINS, **OPTIONS)
    assert [step.outcome for step in report.steps] == ["kept", "done", "kept"]
    assert files_of(path) == files_of(store)
    chunk = path / "image_date" / "c" / "0" / "0"
    chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
    with pytest.raises(ValueError, match="checksum"):
        read(path)


@pytest.mark.parametrize("n_writes", [0, 3, 12, 13, 14])
def test_store_can_be_read_wherever_it_ended_while_steps_were_added(
    steps, store, two_steps, tmp_path, monkeypatch, n_writes
):
    path = shutil.copytree(two_steps, tmp_path / "a.zarr")
    set_length, calls = documents.set_length, []

    def killed(*arguments):
        if len(calls) == n_writes:
            raise KeyboardInterrupt
        calls.append(arguments)
        set_length(*arguments)

    monkeypatch.setattr(documents, "set_length", killed)
    with pytest.raises(KeyboardInterrupt):
        batch_invert(steps[2], path, BINS, **OPTIONS, on_step=killed)
    assert read(path)["dem"].data.compute().shape[1] in (2, 3)
    monkeypatch.undo()
    batch_invert(steps[2], path, BINS, **OPTIONS)
    np.testing.assert_array_equal(read(path)["dem"].data, read(store)["dem"].data)


@pytest.mark.parametrize("outputs", [("chi_squared",), ("temperature_resolution", "predicted_intensity"), ("status",)])
def test_outputs_without_a_dem(steps, store, tmp_path, outputs):
    path = tmp_path / "a.zarr"
    for outcome in ("done", "kept"):
        report = batch_invert(steps[0], path, BINS, outputs=outputs, **OPTIONS)
        assert [(step.outcome, step.reason) for step in report.steps] == [(outcome, None)]
    result = read(path)
    assert set(result) == {*outputs, "omitted_channels", "status"}
    for key in result:
        np.testing.assert_array_equal(result[key].data, read(store)[0:1][key].data)
    with pytest.raises(ValueError, match=rf"outputs is .*{outputs[0]}.* there and dem, dem_uncertainty, .* now"):
        batch_invert(steps[0], path, BINS, **OPTIONS)


def test_step_without_a_file_has_the_dem_of_the_other_channels(folder, tmp_path):
    path = tmp_path / "a.zarr"
    (folder / "step1_211.fits").unlink()
    report = batch_invert(folder, path, BINS, **OPTIONS)
    assert [(step.outcome, step.reason) for step in report.steps] == [
        ("done", None),
        ("done", "no image of 211 Å within `tolerance`, 12 s: the nearest that another step has is 118.5 s away"),
        ("done", None),
    ]
    assert report.left_over == []
    result = read(path)
    omitted = result["omitted_channels"].data.compute()
    assert np.all(omitted[1] == 1 << 4)
    assert not omitted[[0, 2]].any()
    files = sorted(map(str, folder.glob("step1_*")))
    with pytest.warns(DataWarning, match="fewer|five|channels"):
        cube = prepare(files, n_sample=16, correct_degradation=True)
    expected = invert(cube, TemperatureResponse.from_aia(cube), BINS, dtype="float32")
    np.testing.assert_array_equal(result[1]["dem"].data.compute(), expected["dem"].data)
    assert np.isnan(result[1]["intensity"].data.compute()[4]).all()
    assert [step.outcome for step in batch_invert(folder, path, BINS, **OPTIONS).steps] == ["kept"] * 3
    strict = batch_invert(folder, tmp_path / "b.zarr", BINS, **OPTIONS, missing_channels="mask")
    assert [step.outcome for step in strict.steps] == ["done"] * 2
    assert len(strict.left_over) == 5
    series = prepare_series(folder, max_missing_channels=1, n_sample=16, correct_degradation=True)
    assert series.shape[1] == 3
    again = invert(series, TemperatureResponse.from_aia(series), BINS, dtype="float32")
    np.testing.assert_array_equal(again["omitted_channels"].data.compute(), omitted)


def test_date_of_an_image_that_a_step_lacks_is_unknown(folder, tmp_path, capsys):
    """And not 1970: neither in the metadata, nor in what follows from them."""
    (folder / "step1_211.fits").unlink()
    batch_invert(folder, tmp_path / "a.zarr", BINS, **OPTIONS)
    result = read(tmp_path / "a.zarr")
    dates, exposures = (result.meta["observation"][key] for key in ("date", "exposure_time"))
    assert np.argwhere(dates.mask).tolist() == np.argwhere(np.isnan(exposures)).tolist() == [[4, 1]]
    known = Time([Map(path).date for path in sorted(folder.glob("step1_*"))])
    one = result[1]
    assert abs(mean_date(one.meta["observation"]["date"]) - mean_date(known)) < 1 * u.us
    header = to_map(emission_measure(one)).meta
    for keyword, date in (("date-beg", known.min()), ("date-avg", mean_date(known))):
        assert abs(Time(header[keyword]) - date) < 1 * u.ms
    assert known.max() < Time(header["date-end"]) < known.max() + 3 * u.s
    plane = to_map(one["intensity"])[4]
    assert abs(plane.date - result["dem"].axis_world_coords("time")[0][1]) < 1 * u.ms
    for name in ("one.fits", "one.asdf", "one.zarr"):
        write(one, tmp_path / name)
        back = read(tmp_path / name).meta["observation"]["date"]
        assert back.mask.tolist() == [*4 * [False], True, False]
        assert np.all(abs(back[~back.mask] - known) < 1 * u.us)
    assert main(["info", str(tmp_path / "a.zarr")]) == 0
    assert "date  2014-01-01 00:00:05 to 2014-01-01 00:04:05 UT, 3 times\n" in capsys.readouterr().out
    assert mean_date(dates).isot.startswith("2014-01-01T00:0")
    inverted = invert(one["intensity"], TemperatureResponse.from_aia(one["intensity"], degradation=False), BINS)
    assert inverted.meta["observation"]["date"].mask.sum() == 1
    one["intensity"].meta["date"][:] = np.ma.masked
    assert mean_date(one["intensity"].meta["date"]) is None


# ---- settings


def test_same_settings_in_other_words(series_folder, store, tmp_path):
    path = Path(shutil.copytree(store, tmp_path / "a.zarr"))
    prepare_options = {
        "n_sample": np.int64(16),
        "saturation": 15000 * u.DN,
        "align": 1,
        "relative_floor": {94: 0.0, 171 * u.AA: 0},
    }
    same = {
        "tolerance": 0.2 * u.min,
        "prepare_options": prepare_options,
        "response_options": {"eve": True},
        "positivity": "relax",
        "chi_squared_target": 0.1 + 0.2 + 0.7,
        "dtype": "float32",
        "backend": "numpy",
        "progress": False,
        "memory_limit": 1 * u.Gbyte,
    }
    bins = np.logspace(5.6, 7.4, 10) * u.K
    assert not np.array_equal(bins, BINS)
    report = batch_invert(series_folder, path, bins, **same)
    assert [step.outcome for step in report.steps] == 3 * ["kept"]
    assert files_of(path) == files_of(store)
    for change in ({"saturation": 15001 * u.DN}, {"relative_floor": {94: 0.1}}):
        with pytest.raises(ValueError, match=rf"other settings: {next(iter(change))} is .* there and .* now"):
            batch_invert(series_folder, path, bins, **same | {"prepare_options": prepare_options | change})
    changed = {"tolerance": 12.5 * u.s, "prepare_options": prepare_options | {"relative_floor": 0.1}}
    with pytest.raises(
        ValueError, match=r"relative_floor is 0 there and 0\.1 now; tolerance is 12 s there and 12\.5 s now;"
    ):
        batch_invert(series_folder, path, bins, **same | changed)
    for change in ({"tolerance": 12.001 * u.s}, {"chi_squared_target": 1 + 1e-9}, {"n_refinements": 1}):
        with pytest.raises(ValueError, match=rf"other settings: {next(iter(change))} is .* there and .* now"):
            batch_invert(series_folder, path, bins, **same | change)
    with pytest.raises(ValueError, match="other settings: temperature_bin_edges is 10 values from 398107 K to"):
        batch_invert(series_folder, path, bins * (1 + 1e-9), **same)


def test_store_where_none_stood_for_ignore(steps, tmp_path):
    """A store of an older version: it had fewer settings, and accepted negative bins where `positivity` was None."""
    path, options = tmp_path / "a.zarr", OPTIONS | {"positivity": "ignore"}
    batch_invert(steps[0], path, BINS, **options)
    before = read(path)["dem"].data.compute()
    group = zarr.open_group(path, mode="r+")
    settings, meta = group.attrs["settings"], json.loads(group.attrs["meta"])
    assert settings["positivity"] == '"ignore"'
    newer = ("solve_for", "dem_error", "prior", "calibration_error", "common_calibration_error")
    settings = {key: value for key, value in settings.items() if key not in newer} | {"positivity": "null"}
    meta = {key: value for key, value in meta.items() if key not in newer} | {"positivity": None}
    group.attrs.update(settings=settings, meta=json.dumps(meta))
    documents.seal(path)

    assert read(path).meta["positivity"] == "ignore"
    with pytest.raises(ValueError, match="positivity is not set there and relax now"):
        batch_invert([*steps[0], *steps[1]], path, BINS, **OPTIONS)
    with pytest.raises(ValueError, match="solve_for is dem there and emission_measure now"):
        batch_invert([*steps[0], *steps[1]], path, BINS, **options, solve_for="emission_measure")
    report = batch_invert([*steps[0], *steps[1]], path, BINS, **options)
    assert [step.outcome for step in report.steps] == ["kept", "done"]
    np.testing.assert_array_equal(read(path)["dem"].data[:, :1].compute(), before)


def test_store_of_another_method(steps, tmp_path):
    path, options = tmp_path / "a.zarr", OPTIONS | {"method": "lognormal", "calibration_error": 0.1}
    batch_invert(steps[0], path, BINS, **options)
    assert read(path).meta["prior"] == {"amplitude": 4.0, "correlation_length": 0.8}
    same = {"prior": LogNormalPrior(4, 0.8 * u.dex), "parameter_choice": "prior", "dem_error": "posterior"}
    same["calibration_error"] = dict.fromkeys(read(path).meta["channels"], 0.1)
    report = batch_invert(steps[0], path, BINS, **options | same)
    assert [step.outcome for step in report.steps] == ["kept"]
    for change in (
        {"prior": LogNormalPrior(amplitude=3)},
        {"dem_error": "noise"},
        {"calibration_error": "atomic"},
        {"common_calibration_error": 0.2},
        {"method": "demreg"},
    ):
        with pytest.raises(ValueError, match=rf"other settings: .*{next(iter(change))} is .* there and .* now"):
            batch_invert(steps[0], path, BINS, **options | change)


def test_every_option_either_changes_values_or_does_not():
    """A new option of these functions has to be put on one side."""
    options = set(inspect.signature(invert).parameters)
    no_settings = {"data", "response", "temperature_bin_edges", "backend", "workers", "memory_limit", "progress", "out"}
    assert options == set(settings.SETTINGS) | no_settings | {"channels", "outputs"}  # which the result tells


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1.0, 1 + 1e-15, True),
        (1.0, 1 + 1e-11, False),
        (0, 1e-300, False),
        (1, True, False),
        (1, "1", False),
        (None, 0, False),
        ((1, [2.0, "a"]), [1, (2, "a")], True),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1.0}, {"b": 1.0}, False),
        (1 * u.km, 1000 * u.m, True),
        (1 * u.km, 1000, False),
        (1 * u.km, 1000 * u.s, False),
        (np.array([1.0, np.nan]), np.array([1, np.nan]), True),
        (np.array([1.0, 2]), np.array([1.0]), False),
        (np.array([True]), np.array([False]), False),
        (np.array(["a"]), np.array(["a"]), True),
        (np.array(["a"]), "a", False),
        (Time("2014-01-01"), Time("2014-01-01"), True),
        (Time("2014-01-01"), Time("2014-01-02"), False),
        (np.zeros(30000), np.zeros(30000), True),
    ],
)
def test_what_is_the_same(one, other, is_same):
    one, other = (same.as_setting("a", value) for value in (one, other))
    assert same.is_same(one, other) == is_same
    assert same.is_same(same.shown(one), one)


# ---- clusters


def test_local_cluster(series_folder, store, tmp_path):
    batch_invert(series_folder, tmp_path / "a.zarr", BINS, **OPTIONS, workers=2)
    assert files_of(tmp_path / "a.zarr") == files_of(store)


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, each a process of its own; its address, and the workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    processes = [subprocess.Popen([*dask, *command], **common) for command in (scheduler, worker, worker)]
    try:
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_killed_worker_changes_nothing(series_folder, store, tmp_path, cluster, monkeypatch):
    from distributed import Client

    address, workers = cluster
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    path = tmp_path / "a.zarr"

    def kill_after_the_first(n_steps, step):
        if workers[0].poll() is None:
            assert zarr.open_group(path, mode="r")["step_done"][:].sum() == 1
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()

    report = batch_invert(series_folder, path, BINS, **OPTIONS, scheduler=address, on_step=kill_after_the_first)
    assert workers[0].returncode == -signal.SIGKILL
    assert workers[1].poll() is None
    assert [step.outcome for step in report.steps] == ["done"] * 3
    assert files_of(path) == files_of(store)


def test_scheduler_that_is_not_there(series_folder, tmp_path, monkeypatch):
    assert where._CONNECT < 10
    monkeypatch.setattr(where, "_CONNECT", 0.5)
    with pytest.raises(ConnectionError, match=r"`scheduler` 'tcp://127\.0\.0\.1:9': no scheduler answers"):
        batch_invert(series_folder, tmp_path / "a.zarr", BINS, scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "a.zarr").exists()


# ---- bad calls

BAD_CALLS = {
    "ending": ({"path": "a.fits"}, "`path` must end in .zarr"),
    "two clusters": ({"workers": 2, "scheduler": "tcp://127.0.0.1:9"}, "pass only one of them"),
    "workers": ({"workers": 0}, "`workers` must be a whole number of processes"),
    "option": ({"positivity": "always"}, "`positivity` must be one of"),
}


@pytest.mark.parametrize(("change", "words"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_calls(series_folder, tmp_path, change, words):
    given = {"path": "a.zarr"} | OPTIONS | change
    with pytest.raises(ValueError, match=words):
        batch_invert(series_folder, tmp_path / given.pop("path"), BINS, **given)
    assert not any(tmp_path.iterdir())


def test_other_stores_are_refused(series_folder, store, tmp_path):
    path = Path(shutil.copytree(store, tmp_path / "a.zarr"))
    with pytest.raises(ValueError, match=r"other settings: .*dtype is float32 there and float64 now"):
        batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float64")
    with pytest.raises(ValueError, match=r"n_sample is 16 there and 1 now"):
        batch_invert(series_folder, path, BINS, **OPTIONS | {"prepare_options": {"n_sample": 1}})
    with pytest.raises(ValueError, match=r"temperature_bin_edges is"):
        batch_invert(series_folder, path, BINS[1:], **OPTIONS)
    assert files_of(path) == files_of(store)
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ValueError, match="exists but is not the store of a batch"):
        batch_invert(series_folder, tmp_path / "b.zarr", BINS, **OPTIONS)
    assert documents.open_store(path).attrs["settings"]["n_sample"] == "16"


def test_data_are_corrected_for_degradation_and_one_response_serves_all(steps, store, tmp_path):
    assert read(store).meta["response"]["degradation"] is None
    assert read(store).meta["observation"]["degradation_corrected"] is True
    options = OPTIONS | {"prepare_options": {"n_sample": 16, "correct_degradation": False}}
    with pytest.raises(ValueError, match=r"`prepare_options` has 'correct_degradation' False, but .* one response"):
        batch_invert(steps[0], tmp_path / "a.zarr", BINS, **options)
    options = OPTIONS | {"prepare_options": {"n_sample": 16, "degradation_corrected": True}}
    report = batch_invert(steps[0], tmp_path / "a.zarr", BINS, **options)
    assert [step.reason for step in report.steps] == [None]
    with pytest.raises(ValueError, match="tolerance"):
        batch_invert(steps[0], tmp_path / "a.zarr", BINS, tolerance=6 * u.s, **options)


def test_without_distributed_the_cure_is_named(series_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for argument, value in {"workers": 2, "scheduler": "tcp://127.0.0.1:1"}.items():
        with pytest.raises(ImportError, match=rf"`{argument}` needs .* pip install 'sunpy-demreg\[batch\]'"):
            batch_invert(series_folder, tmp_path / "a.zarr", BINS, **{argument: value}, **OPTIONS)
    assert not (tmp_path / "a.zarr").exists()
