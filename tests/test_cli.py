"""The command line, as a user types it."""

import os
import re
import select
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

import astropy.units as u
from astropy.io import fits
from sunpy.map import Map

import sunpy_demreg
from sunpy_demreg import emission_measure, read, sample, visualization, write
from sunpy_demreg._cli import one_time
from sunpy_demreg._cli.main import OUTPUTS, _parser, main
from sunpy_demreg._cli.messages import in_our_words
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.numbers import significant
from sunpy_demreg._inversion.arguments import RESULTS

COARSE = ["--log-t", "5.8", "7.0", "0.2"]


@pytest.fixture
def files():
    return [str(path) for path in sample.aia_files()]


@pytest.fixture
def small_files(tmp_path_factory):
    """A corner of the sample, which is inverted in no time."""
    folder = tmp_path_factory.mktemp("small")
    for path in sample.aia_files():
        cut(path, folder / path.name)
    return [str(path) for path in sorted(folder.iterdir())]


def cut(path, target, **changes):
    """Write 20 x 30 pixels of a sample file; `first3=-4` sets the first three of some in the first row to -4."""
    with fits.open(path) as hdus:
        [hdu] = [hdu for hdu in hdus if hdu.data is not None]
        data = np.array(hdu.data[:20, :30], dtype=float)
        for name, value in changes.items():
            data[0, 5 : 5 + int(name.removeprefix("first"))] = value
        fits.PrimaryHDU(data, hdu.header).writeto(target, overwrite=True)


def everything_under(folder):
    return {str(path): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_demo_writes_and_summarizes(tmp_path, capsys):
    out = tmp_path / "new" / "demo"  # both are created
    assert main(["demo", "--output", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    result = read(out / "dem.fits")
    assert result["dem"].data.shape[0] == 37
    assert (out / "dem.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == ["dem.fits", "dem.png"]
    status = result["status"].data
    n_masked = int(result["dem"].mask[0].sum())
    assert f"{status.size}, of which {status.size - n_masked} solved and {n_masked} masked" in printed.out
    chi_squared = result["chi_squared"].data[~result["chi_squared"].mask]
    median, high = (significant(np.percentile(chi_squared, share)) for share in (50, 95))
    assert f"median {median}, 95th percentile {high}" in printed.out
    assert "channels  AIA 94, AIA 131, AIA 171, AIA 193, AIA 211, AIA 335\n" in printed.out
    assert "date  2014-01-01 00:00:0" in printed.out

    assert main(["demo", "--output", str(out)]) == 1
    assert "dem.fits' exists and is kept: choose another name, or pass `--overwrite`" in capsys.readouterr().err
    (out / "dem.fits").unlink()
    assert main(["demo", "--output", str(out)]) == 1
    assert "error: `--output` " in (err := capsys.readouterr().err)
    assert "dem.png' exists and is kept" in err
    assert main(["demo", "--output", str(out), "--overwrite"]) == 0


def test_method(tmp_path, capsys, small_files):
    path = tmp_path / "dem.fits"
    arguments = [*COARSE, "--n-sample", "16", "--method", "lognormal", "--calibration-error", "0.1"]
    assert main(["invert", *small_files, *arguments, "--output", str(path)]) == 0
    result = read(path)
    told = [result.meta[name] for name in ("method", "parameter_choice", "positivity", "solve_for", "dem_error")]
    assert told == ["lognormal", "prior", "inherent", "emission_measure", "posterior"]
    assert set(result.meta["calibration_error"].values()) == {0.1}
    solved = ~np.isnan(result["chi_squared"].data)
    assert np.all(result["dem"].data[:, solved] > 0)
    arguments += ["--positivity", "relax", "--output", str(tmp_path / "b.fits")]
    assert main(["invert", *small_files, *arguments]) == 1
    err = capsys.readouterr().err
    assert "`--positivity` 'relax' is not possible with the method 'lognormal', whose DEM is positive" in err
    assert err.count("positivity") == 1  # of the command line, not of Python
    assert main(["invert", *small_files, "--calibration-error", "10", "--output", str(tmp_path / "b.fits")]) == 1
    assert "`--calibration-error` must be a finite number" in capsys.readouterr().err


def test_misfits_are_told(tmp_path, capsys, small_files):
    arguments = ["--log-t", "6.3", "7.3", "0.1", "--n-sample", "16", "--output", str(tmp_path / "a.fits")]
    assert main(["invert", *small_files, *arguments]) == 0
    printed = capsys.readouterr()
    assert "warning: 600 of 600 solved pixels do not fit" in printed.err
    assert "a `--calibration-error`, such as 0.1" in printed.err
    assert "`--positivity constrain` does not" in printed.err
    assert "result[" not in printed.err
    assert "600 RELAXED" in printed.out


def test_prior_and_errors(tmp_path, capsys, small_files):
    path = tmp_path / "dem.fits"
    command = ["invert", *small_files, *COARSE, "--n-sample", "16", "--output", str(path), "--overwrite"]
    more = ["--prior", "3", "1.2", "--dem-error", "noise", "--common-calibration-error", "0.2"]
    assert main([*command, "--method", "lognormal", *more]) == 0
    meta = read(path).meta
    assert meta["prior"] == {"amplitude": 3.0, "correlation_length": 1.2}
    assert (meta["dem_error"], meta["common_calibration_error"]) == ("noise", 0.2)
    assert main([*command, "--parameter-choice", "gcv"]) == 0
    assert read(path).meta["parameter_choice"] == "gcv"
    capsys.readouterr()
    for options, words in (
        (["--prior", "3", "1.2"], "`--prior` is not used by the method 'demreg': leave it out, or choose 'lognormal'"),
        (["--prior", "0", "1"], "the amplitude in `--prior` must be a finite number above 0"),
        (["--prior", "4", "90"], "the correlation length in `--prior` must be a finite number of dex"),
        (["--dem-error", "posterior"], "`--dem-error` 'posterior' is not possible with the method 'demreg'"),
        (["--common-calibration-error", "20"], "`--common-calibration-error` must be a finite number"),
        (["--max-missing-channels", "6"], "`--max-missing-channels` is 6, but there are 6 channels"),
        (["--max-missing-channels", "2", "--missing-channels", "mask"], "`--max-missing-channels` is not used where"),
        (["--positivity", "constrain", "--parameter-choice", "grid"], "`--positivity` 'constrain' meets the target"),
    ):
        assert main([*command, *options]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"sunpy-demreg: error: {words}")
        assert "_" not in err.replace("dem_", "")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--method", "lognorml", "argument --method: must be one of demreg, lognormal, l2, but is 'lognorml' (did you"),
        ("--positivity", "constrained", "(did you mean 'constrain'?)"),
        ("--dem-error", "noise level", "(did you mean 'noise'?)"),
        ("--nonpositive", "omit", "argument --nonpositive: must be one of use, mask, but is 'omit'\n"),
    ],
)
def test_misspelt_word_gets_the_nearest(capsys, option, value, words):
    with pytest.raises(SystemExit, match="2"):
        main(["invert", "a.fits", "--output", "dem.fits", option, value])
    assert words in capsys.readouterr().err


WORDS = {  # what a value that cannot be read, or is out of range, is told: of argparse, but in words of this package
    "number": ("invert", "--calibration-error", "a", "must be a number, but is 'a'"),
    "number of three": ("invert", "--log-t", "5 6 a", "must be a number, but is 'a'"),
    "positive number": ("invert", "--saturation", "a", "must be a positive number, but is 'a'"),
    "whole number": ("invert", "--bin", "1.5", "must be a whole number, but is '1.5'"),
    "finite number": ("invert", "--submap", "0 0 1 nan", "must be finite numbers, but has nan"),
    "file of another machine": ("invert", "--output", "file://there/a.fits", "names a file of the machine 'there'"),
    "output of batches": ("invert", "--outputs", "dem emission_measure", "but is 'emission_measure'"),
    "outputs in one": ("invert", "--outputs", "dem,chi_squared", "(did you mean 'chi_squared'?)"),
    "seconds": ("batch", "--tolerance", "12s", "must be a number, but is '12s'"),
    "ranges": ("batch", "--em-ranges", "nan,6", "must be two or more ascending log10(T/K), as 5.7,6.0,6.3, but is"),
    "encoding": ("batch", "--encoding", "float64", "must be one of float32, bitround, log, but is 'float64' (did"),
    "contents": ("batch", "--contents", "input", "must be one of result, inputs, but is 'input' (did you mean"),
    "part zero": ("batch", "--part", "0/3", "must be K/N with K from 1 to N, such as 3/16 for the third of sixteen"),
    "part beyond": ("batch", "--part", "4/3", "must be K/N with K from 1 to N, such as 3/16"),
    "dtype": ("batch", "--dtype", "float16", "must be one of float32, float64, but is 'float16' (did you mean"),
    "memory": ("batch", "--memory-limit", "-1", "must be a positive number, but is -1"),
    "backend": ("batch", "--backend", "gpu", "must be one of cpu, numpy, cupy, hybrid, but is 'gpu' (did you mean"),
    "workers": ("batch", "--workers", "x", "must be a whole number, but is 'x'"),
}


@pytest.mark.parametrize(("command", "option", "values", "words"), WORDS.values(), ids=WORDS.keys())
def test_values_that_cannot_be_read(capsys, command, option, values, words):
    with pytest.raises(SystemExit, match="2"):
        main([command, "a.fits", "--output", "a.zarr", option, *values.split()])
    err = capsys.readouterr().err
    assert f"error: argument {option}: " in err
    assert words in err
    assert " value: " not in err  # as argparse says it, with the name of the function


def test_no_option_is_left_to_the_words_of_argparse():
    for command in _parser()._subparsers._group_actions[0].choices.values():
        for action in command._actions:
            assert action.type not in (int, float)
            assert action.choices is None


def test_what_is_told_of_python_is_in_words_of_the_command_line(tmp_path, monkeypatch, capsys, small_files):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.zarr").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.zarr").mkdir()
    out, prepared = ["--output", "a.zarr"], ["--n-sample", "16", *COARSE]
    for arguments, words in (
        (["batch", *small_files, *out, "--start", "soon"], "such as '2014-01-01T00:00:00', but is 'soon'"),
        (["batch", *small_files, "--output", "."], "`--output` must end in .zarr, but is '.'"),
        (["batch", *small_files, "--output", "file.zarr"], "`--output` 'file.zarr' exists but is not the store of"),
        (["batch", *small_files, *out, "--start", "2020-01-01"], "in the range of `--start` and `--stop`"),
        (["batch", *small_files, "--output", "http://a/b.zarr"], "`sunpy-demreg info` and `--status` take its URL"),
        (["invert", *2 * small_files, "--output", "a.fits"], "for several times use `sunpy-demreg batch`\n"),
        (
            ["invert", *small_files, *prepared, "--output", "a.fits", "--saturation", "1e-9"],
            "error: the data is masked",
        ),
        (["info", "folder"], "`FILE` 'folder' is a folder: name a file in it, or a store, which ends in .zarr"),
        (["info", "folder.zarr"], "`FILE` 'folder.zarr' is not a result"),
    ):
        assert main(arguments) == 1
        assert words in capsys.readouterr().err
    assert main(["batch", *small_files, *prepared, *out, "--saturation", "1e-9"]) == 0
    assert "(SATURATED 600); the output 'status' tells it of each pixel\n" in capsys.readouterr().err


def test_invert_writes_what_was_asked_for(tmp_path, capsys, small_files):
    output, plot = tmp_path / "dem.fits.gz", tmp_path / "other" / "dem.pdf"
    plot.parent.mkdir()
    arguments = [*COARSE, "--n-sample", "16", "--positivity", "ignore", "--parameter-choice", "grid"]
    arguments += ["--saturation", "9000", "--chi-squared-target", "1.5"]
    assert main(["invert", *small_files, *arguments, "--output", str(output), "--plot", str(plot)]) == 0
    result = read(output)
    np.testing.assert_allclose(np.log10(result.meta["temperature_bin_edges"].value), np.arange(5.8, 7.01, 0.2))
    assert (result.meta["parameter_choice"], result.meta["positivity"]) == ("grid", "ignore")
    assert result.meta["chi_squared_target"] == 1.5
    assert result.meta["observation"]["n_sample"] == 16
    assert float(result.meta["observation"]["saturation"]) == 9000
    assert plot.read_bytes().startswith(b"%PDF")
    assert "chi-squared" in capsys.readouterr().out


def test_picture_has_the_mean_time_of_the_channels(tmp_path, capsys, small_files, monkeypatch):
    dates = [f"2014-01-01T00:00:{second:02}.00" for second in (2, 4, 6, 8, 10, 12)]
    for path, date in zip(small_files, dates, strict=True):
        for keyword in ("DATE-OBS", "T_OBS"):
            fits.setval(path, keyword, value=date)
    titles = []
    plot_summary = visualization.plot_summary

    def noted(result, title):
        titles.append(title)
        return plot_summary(result, title=title)

    monkeypatch.setattr(visualization, "plot_summary", noted)
    targets = ["--output", str(tmp_path / "dem.fits"), "--plot", str(tmp_path / "dem.png")]
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *targets]) == 0
    assert titles == ["SDO/AIA 2014-01-01 00:00:07 UT"]
    assert "date  2014-01-01 00:00:07 UT" in capsys.readouterr().out


def test_masked_pixels_are_counted_by_reason(tmp_path, capsys, small_files):
    cut(sample.aia_files()[2], small_files[2], first5=16000, first3=-4)
    command = ["invert", *small_files, *COARSE, "--n-sample", "16", "--output", str(tmp_path / "dem.fits")]
    assert main([*command, "--nonpositive", "mask", "--missing-channels", "mask"]) == 0
    printed = capsys.readouterr()
    status = read(tmp_path / "dem.fits")["status"].data
    assert np.count_nonzero(status[0, 5:10]) == 5
    assert "masked because  3 MASKED\n" in printed.out
    assert "masked because  2 SATURATED\n" in printed.out
    assert "NONPOSITIVE_INTENSITY" not in printed.out
    assert "600, of which 595 solved and 5 masked" in printed.out
    assert printed.err == ""  # the summary says it all
    assert main([*command, "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert "600, of which 600 solved and 0 masked" in out
    assert "solved, but  3 NONPOSITIVE_INTENSITY\n" in out
    assert "solved, but  2 MISSING_CHANNEL\n" in out
    np.testing.assert_array_equal(read(tmp_path / "dem.fits")["omitted_channels"].data[0, 5:11], [0, 0, 0, 4, 4, 0])
    assert main([*command, "--overwrite", "--max-missing-channels", "0"]) == 1
    assert "`--max-missing-channels` must be a whole number" in capsys.readouterr().err


def test_module_runs_and_warns_once(tmp_path, small_files):
    """In a process of its own: sunpy takes warnings over when it is loaded."""
    cut(sample.aia_files()[2], small_files[2], first3=-4)
    command = [sys.executable, "-m", "sunpy_demreg", "invert", *small_files, *COARSE, "--output", "dem.fits"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    [line] = ended.stderr.splitlines()
    assert line.startswith("sunpy-demreg: warning: ")
    assert "pass 16; if not, " in line
    assert "`--n-sample` is assumed to be 1" in line
    assert "n_sample" not in line
    assert "solved, but  3 NONPOSITIVE_INTENSITY\n" in ended.stdout
    assert (tmp_path / "dem.fits").exists()


@pytest.mark.parametrize("module", ["sunpy", "numpy"])
def test_interruption_while_modules_are_loaded(tmp_path, module):
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    command = [sys.executable, "-m", "sunpy_demreg", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "sunpy-demreg: interrupted\n")


BAD_COMMANDS = {
    "missing file": (["absent.fits"], "the files: there is no file absent.fits"),
    "not FITS": (["text.fits"], "text.fits"),
    "not AIA": (["other.fits"], "AIA"),
    "averages of half a pixel": (["FILES", "--n-sample", "0"], "`--n-sample` must be"),
    "steps that do not fit": (["FILES", "--log-t", "5.6", "7.4", "0.07"], "not a whole number of steps"),
    "descending temperatures": (["FILES", "--log-t", "7.4", "5.6", "0.05"], "LOW < HIGH"),
    "no temperatures": (["FILES", "--log-t", "nan", "7.4", "0.05"], "LOW < HIGH"),
    "temperatures in K": (["FILES", "--log-t", "4e5", "2.5e7", "1e4"], "log10"),
    "one bin": (["FILES", "--log-t", "5", "6", "1"], "3 to 1000 bins"),
    "a million bins": (["FILES", "--log-t", "5", "7", "2e-6"], "3 to 1000 bins"),
    "temperatures beyond the response": (["FILES", "--log-t", "3.2", "7.4", "0.2"], "`--log-t` reach"),
    "output of another kind": (["FILES", "--output", "dem.sav"], "must end in .fits"),
    "output that exists": (
        ["FILES", "--output", "text.fits"],
        "exists and is kept: choose another name, or pass `--overwrite`\n",
    ),
    "output that is a folder": (
        ["FILES", "--output", "folder.fits", "--overwrite"],
        "`--output` 'folder.fits' is a folder",
    ),
    "output that is an input": (["text.fits", "--output", "text.fits", "--overwrite"], "one of the files to invert"),
    "output that matches a pattern": (
        ["te*.fits", "--output", "text.fits", "--overwrite"],
        "one of the files to invert",
    ),
    "output that is in the home folder": (["~/te??.fits", "--output", "text.fits", "--overwrite"], "one of the files"),
    "picture that is an input": (["pic*", "--plot", "picture.png", "--overwrite"], "one of the files to invert"),
    "pattern of a folder": (["fol*"], "is a folder, not a file"),
    "home of nobody": (["~home-of-nobody/a.fits"], "home"),
    "output below a file": (["FILES", "--output", "text.fits/new/dem.fits"], "text.fits' is a file, not a folder"),
    "output in a folder that is not there": (
        ["FILES", "--output", "new/dem.fits"],
        "`--output` names the folder '{here}/new', which does not exist: create it first\n",
    ),
    "picture in a folder that is not there": (
        ["FILES", "--plot", "new/dem.png"],
        "`--plot` names the folder '{here}/new', which does not exist: create it first\n",
    ),
    "picture that exists": (["FILES", "--plot", "picture.png"], "`--plot` 'picture.png' exists and is kept"),
    "picture of another kind": (["FILES", "--plot", "p.fits"], "`--plot` must end in .png or one of"),
    "picture of no kind": (["FILES", "--plot", "p"], "`--plot` must end in .png or one of"),
    "picture below a file": (["FILES", "--plot", "text.fits/p.png"], "text.fits' is a file, not a folder"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_COMMANDS.values(), ids=BAD_COMMANDS.keys())
def test_bad_command_says_why_and_writes_nothing(tmp_path, monkeypatch, capsys, files, arguments, words):
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "text.fits").write_text("not FITS at all")
    (tmp_path / "picture.png").write_text("not a picture")
    (tmp_path / "folder.fits").mkdir()
    fits.PrimaryHDU(np.zeros((8, 8)), fits.Header({"TELESCOP": "HINODE"})).writeto("other.fits")
    before = everything_under(tmp_path)
    arguments = [part for a in arguments for part in (files if a == "FILES" else [a])]
    if "--output" not in arguments:
        arguments += ["--output", "dem.fits"]
    if "--n-sample" not in arguments:
        arguments += ["--n-sample", "16"]
    assert main(["invert", *arguments]) == 1
    err = capsys.readouterr().err
    assert words.replace("{here}", str(tmp_path)) in err
    assert err.startswith("sunpy-demreg: error: ")
    assert "Traceback" not in err
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize("option", ["--chi-squared-target", "--saturation"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many"])
def test_options_that_are_no_positive_numbers_are_refused(capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        main(["invert", "a.fits", "--output", "dem.fits", option, value])
    assert option in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["invert", "a", "--output", "b.fits", "--logt", "5", "7", "0.1"],
            "--logt 5 7 0.1 (did you mean --log-t?)",
        ),
        (["batch", "a", "--output", "b.zarr", "--worker_s=2"], "--worker_s=2 (did you mean --workers?)"),
        (["demo", "--xyz"], "unrecognized arguments: --xyz\n"),
    ],
)
def test_unknown_option_gets_the_nearest_and_the_usage_of_the_command(capsys, arguments, words):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    err = capsys.readouterr().err
    assert words in err
    assert err.startswith(f"usage: sunpy-demreg {arguments[0]} ")


@pytest.mark.parametrize("place", ["invert", "to_file", "_draw"])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError("no space left"), 1, "error: no space left"),
        (ImportError("No module named 'aiapy'"), 1, "error: No module named 'aiapy'"),
        (MemoryError(), 1, "error: MemoryError"),
        (RuntimeError("can't start new thread"), 1, "error: can't start new thread"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failure_leaves_nothing_behind(tmp_path, monkeypatch, capsys, small_files, place, error, code, words):
    from sunpy_demreg._files import fits as our_fits

    def fail(*args, **kwargs):
        for path in args:
            if hasattr(path, "write_text"):
                path.write_text("half a file")
        raise error

    targets = {"--output": tmp_path / "other" / "dem.fits", "--plot": tmp_path / "dem.png"}
    targets["--output"].parent.mkdir()
    owner = {"invert": sunpy_demreg, "to_file": our_fits, "_draw": one_time}[place]
    monkeypatch.setattr(owner, place, (lambda *args: fail) if place == "to_file" else fail)
    option = {"to_file": "--output", "_draw": "--plot"}.get(place)
    if type(error) is OSError and option:  # of a system that does not name the file
        words = words.replace("error:", f"error: `{option}` '{targets[option]}' cannot be written:")
    options = [str(word) for pair in targets.items() for word in pair]
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *options]) == code
    assert capsys.readouterr().err == f"sunpy-demreg: {words}\n"
    assert everything_under(tmp_path) == {str(tmp_path / "other"): False}


def test_failure_keeps_what_was_to_be_replaced(tmp_path, monkeypatch, small_files):
    def fail(result, title, path):
        raise ValueError("cannot draw")

    monkeypatch.setattr(one_time, "_draw", fail)
    for name in ("dem.fits", "dem.png"):
        (tmp_path / name).write_text("precious")
    before = everything_under(tmp_path)
    targets = ["--output", str(tmp_path / "dem.fits"), "--plot", str(tmp_path / "dem.png"), "--overwrite"]
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *targets]) == 1
    assert everything_under(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_links_and_permissions_are_kept(tmp_path, small_files):
    (tmp_path / "data").mkdir()
    link, plot = tmp_path / "link.fits", tmp_path / "link.png"
    real = tmp_path / "data" / "real"  # the ending is that of the link
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    plot.symlink_to(tmp_path / "data" / "new.png")
    targets = ["--output", str(link), "--plot", str(plot), "--overwrite"]
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *targets]) == 0
    assert link.is_symlink()
    assert plot.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert read(link)["status"].data.shape == (20, 30)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["new.png", "real"]


def test_dem_without_negative_bins_meets_the_target(tmp_path, capsys, small_files):
    arguments = ["--n-sample", "16", "--positivity", "constrain", "--output", str(tmp_path / "dem.fits")]
    assert main(["invert", *small_files, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "chi-squared  median 1.00," in printed
    assert "NEGATIVE_DEM" not in printed
    assert read(tmp_path / "dem.fits")["dem"].data.min() >= 0


def test_defaults_write_little(tmp_path, capsys, small_files):
    path = tmp_path / "dem.fits"
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", "--output", str(path)]) == 0
    result = read(path)
    assert set(result) - {"omitted_channels"} == {"dem", "chi_squared", "status", "intensity"}
    assert result["dem"].data.dtype == result["dem"].uncertainty.array.dtype == np.float32


def test_preparation_and_weighting(tmp_path, capsys, small_files):
    path = tmp_path / "dem.fits"
    more = ["--relative-floor", "0.2", "--include-eve", "--degradation-corrected", "--weighting", "em_loci"]
    more += ["--outputs", "dem", "--dtype", "float64"]
    assert main(["invert", *small_files, *COARSE, *more, "--n-sample", "16", "--output", str(path)]) == 0
    result = read(path)
    about = result.meta["observation"]
    assert about["include_eve"] is about["degradation_corrected"] is True
    assert np.all(about["relative_floor"] == 0.2)
    assert result.meta["weighting"] == "em_loci"
    assert result["dem"].uncertainty is None
    assert result["dem"].data.dtype == np.float64
    with pytest.raises(SystemExit, match="2"):
        main(["invert", *small_files, "--outputs", "dom", "--output", str(tmp_path / "b.fits")])
    assert "argument --outputs: must be one of dem, " in (err := capsys.readouterr().err)
    assert err.endswith("but is 'dom' (did you mean 'dem'?)\n")
    assert set(OUTPUTS) == {*RESULTS, "status"} - {"emission_measure"}


def test_submap_in_arcsec(tmp_path, capsys, small_files):
    path, whole = tmp_path / "dem.fits", Map(small_files[0])
    low, high = (whole.pixel_to_world(x * u.pix, y * u.pix) for x, y in ((4, 3), (13, 8)))
    corners = [str(corner.to_value(u.arcsec)) for corner in (low.Tx, low.Ty, high.Tx, high.Ty)]
    command = ["invert", *small_files, *COARSE, "--n-sample", "16", "--output", str(path), "--submap", *corners]
    assert main(command) == 0
    result = read(path)
    assert result["status"].data.shape == (6, 10)
    at = result["status"].wcs.pixel_to_world(0, 0)
    assert abs(at.Tx - low.Tx) < 1e-3 * u.arcsec


def test_info_and_explore(tmp_path, capsys, small_files, monkeypatch):
    path = tmp_path / "dem.fits"
    everything = ["--plot", str(tmp_path / "dem.png")]
    assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *everything, "--output", str(path)]) == 0
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    for words in ("date  2014-01-01 00:00:0", "instrument  AIA\n", "6 bins, log T 5.80 to 7.00", "dem_error = noise"):
        assert words in told
    assert "dem  6 x 20 x 30, float32, 1 / (K cm5), with errors\n" in told
    write(emission_measure(read(path), [1, 2] * u.MK), tmp_path / "em.fits")
    assert main(["info", str(tmp_path / "em.fits")]) == 0
    assert "emission measure, log T 6.00-6.30  20 x 30, float64, 1 / cm5, with errors\n" in capsys.readouterr().out
    header = fits.getheader(tmp_path / "em.fits")
    assert header["CUNIT1"] == "arcsec"
    assert "deg" not in header.comments["CDELT1"]
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.get_fignums())))
    assert main(["explore", str(path)]) == 0
    assert shown == [1]
    for command in ("info", "explore"):
        assert main([command, str(tmp_path / "none.fits")]) == 1
        assert capsys.readouterr().err.startswith("sunpy-demreg: error: `FILE`: there is no file")
        assert main([command, small_files[0]]) == 1
        assert re.search(r"error: `FILE` '.*' is not a result", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("command", "message", "told"),
    [
        (
            "invert",
            wrong(ValueError, "data", "or pass `missing_channels='omit'`"),
            "the data or pass `--missing-channels omit`",
        ),
        ("invert", "Correct it with `degradation_corrected=True`.", "Correct it with `--degradation-corrected`."),
        ("invert", "choose `calibration_error=0.1` of `maps`", "choose `--calibration-error 0.1` of the files"),
        ("batch", wrong(ValueError, "tolerance", "is short"), "`--tolerance` is short"),
        ("batch", "use `reference`, such as 171 * u.AA", "use `--reference`, such as 171"),
        # What it has no option for stays as it is.
        ("demo", "pass `missing_channels='omit'` or `align=False`", "pass `missing_channels='omit'` or `align=False`"),
        ("invert", "pass `align=False`, or `correct_shifts=False`", "pass `align=False`, or `correct_shifts=False`"),
        ("info", wrong(ValueError, "path", "is none"), "`FILE` is none"),
    ],
)
def test_messages_name_options_not_arguments(command, message, told):
    arguments = {"invert": ["a", "--output", "b"], "batch": ["a", "--output", "b"], "demo": [], "info": ["a"]}[command]
    assert in_our_words(message, _parser().parse_args([command, *arguments]).command) == told


@pytest.mark.skipif(os.name == "nt", reason="pipes are those of POSIX")
@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize("arguments", [["info", "dem.fits"], ["--version"]], ids=" ".join)
def test_reader_that_ends_first(tmp_path, capsys, small_files, arguments, is_buffered):
    """As ``| head -1`` does: neither a traceback, nor what Python says when it cannot write at its end."""
    if "info" in arguments:
        output = ["--output", str(tmp_path / "dem.fits")]
        assert main(["invert", *small_files, *COARSE, "--n-sample", "16", *output]) == 0
    command = [sys.executable, *([] if is_buffered else ["-u"]), "-m", "sunpy_demreg", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as started:
        started.stdout.close()
        assert started.stderr.read() == ""
    assert started.returncode == (141 if is_buffered or arguments[0] == "info" else 0)  # argparse ignores it


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the system cannot tell whose pipe it was")
def test_pipe_to_another_program_that_breaks_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sunpy_demreg, "read", lambda path: os.write(end, b"text"))
    start, end = os.pipe()
    os.close(start)
    assert main(["info", "dem.fits"]) == 1
    told = "error: another program, or a server, ended before all was sent to it ([Errno 32] Broken pipe)"
    assert capsys.readouterr().err == f"sunpy-demreg: {told}\n"
    os.close(end)


def test_decimals_of_temperatures(tmp_path, capsys, small_files):
    output = ["--output", str(tmp_path / "dem.fits")]
    assert main(["invert", *small_files, "--log-t", "5.575", "7.375", "0.3", "--n-sample", "16", *output]) == 0
    assert "6 bins, log T 5.575 to 7.375\n" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "dem.fits")]) == 0
    assert "6 bins, log T 5.575 to 7.375\n" in capsys.readouterr().out


def test_help_and_version(capsys):
    for arguments, words in (
        (["--help"], ["invert", "demo"]),
        (["--version"], ["sunpy-demreg"]),
        (["demo", "--help"], ["--output"]),
        (["invert", "--help"], ["reference implementation", "accept the first solution", "15000", "(default: 1.0)"]),
        (["invert", "--help"], ["{demreg,lognormal,l2}", "(default: relax; not for lognormal", "(default: demreg)"]),
    ):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
        printed = " ".join(capsys.readouterr().out.split())
        assert all(word in printed for word in words)
        assert "default: None" not in printed


def test_shifts_are_corrected(tmp_path, capsys):
    paths = sample.aia_files()
    scene = fits.getdata(paths[2])  # in all channels, so that the pointing is all that can differ
    for path in paths:
        with fits.open(path) as hdus:
            [header] = [hdu.header for hdu in hdus if hdu.data is not None]
            header["CRPIX1"] += 1.3 * (header["WAVELNTH"] == 211)  # pixels that its pointing is off by
            fits.PrimaryHDU(scene, header).writeto(tmp_path / path.name)
    command = ["invert", str(tmp_path / "*.fits"), *COARSE, "--n-sample", "16", "--output", str(tmp_path / "a.fits.gz")]
    assert main([*command, "--correct-shifts"]) == 0
    about = read(command[-1]).meta["observation"]
    np.testing.assert_allclose(about["applied_shift_x"].to_value(u.pix), [0, 0, 0, 0, 1.3, 0], atol=0.1)
    assert np.abs(about["residual_shift_x"]).max() < 0.1 * u.pix


def test_level_1(tmp_path, capsys):
    files = sorted(map(str, (sample.aia_files()[0].parent).glob("aia_flare_2011-02-15T01-44_*.fits")))
    output = tmp_path / "dem.fits"
    options = ["--log-t", "5.6", "7.4", "0.3", "--reference", "171", "--bin", "8", "--output", str(output)]
    assert main(["invert", *files, *options]) == 0
    observation = read(output).meta["observation"]
    assert observation["steps"] == ["align", "bin", "exposure"]
    assert main(["invert", *files, *options, "--overwrite", "--pointing-table", "none.ecsv"]) == 1
    assert "`--pointing-table`: there is no file none.ecsv" in capsys.readouterr().err
