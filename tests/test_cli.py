"""The command line, as a user types it."""

import numpy as np
import pytest

from sunpy_demreg import read, sample
from sunpy_demreg.cli import main


def test_demo_writes_and_summarizes(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--output", str(out)]) == 0
    printed = capsys.readouterr()
    result = read(out / "dem.fits")
    assert result["dem"].data.shape[0] == 36
    assert (out / "dem.png").read_bytes().startswith(b"\x89PNG")
    status = result["status"].data
    n_masked = int(result["dem"].mask[0].sum())
    assert f"{status.size}, of which {status.size - n_masked} solved and {n_masked} masked" in printed.out
    chi_squared = result["chi_squared"].data[~result["chi_squared"].mask]
    assert f"median {np.median(chi_squared):.2f}, 95th percentile {np.percentile(chi_squared, 95):.2f}" in printed.out
    if n_masked:
        assert f"{n_masked} NOT_POSITIVE" in printed.out

    assert main(["demo", "--output", str(out)]) == 1
    assert "exists and is kept" in capsys.readouterr().err
    assert main(["demo", "--output", str(out), "--overwrite"]) == 0


def test_invert_writes_what_was_asked_for(tmp_path, capsys):
    output, plot = tmp_path / "dem.fits", tmp_path / "dem.png"
    files = [str(f) for f in sample.aia_files()]
    arguments = [
        "--log-t",
        "5.8",
        "7.0",
        "0.2",
        "--n-sample",
        "16",
        "--positivity",
        "none",
        "--parameter-choice",
        "grid",
    ]
    assert main(["invert", *files, *arguments, "--output", str(output), "--plot", str(plot)]) == 0
    result = read(output)
    np.testing.assert_allclose(np.log10(result.meta["temperature_bin_edges"].value), np.arange(5.8, 7.01, 0.2))
    assert (result.meta["parameter_choice"], result.meta["positivity"]) == ("grid", None)
    assert result.meta["observation"]["n_sample"] == 16
    assert plot.exists()
    assert "chi-squared" in capsys.readouterr().out


BAD_COMMANDS = {
    "missing file": (["absent.fits"], "absent.fits"),
    "not FITS": (["text.fits"], "text.fits"),
    "not AIA": (["other.fits"], "AIA"),
    "steps that do not fit": (["FILES", "--log-t", "5.6", "7.4", "0.07"], "not a whole number of steps"),
    "descending temperatures": (["FILES", "--log-t", "7.4", "5.6", "0.05"], "LOW < HIGH"),
    "output of another kind": (["FILES", "--output", "dem.sav"], "must end in .fits"),
    "output that exists": (["FILES", "--output", "text.fits"], "exists and is kept"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_COMMANDS.values(), ids=BAD_COMMANDS.keys())
def test_bad_command_says_why_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, words):
    from astropy.io import fits

    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.fits").write_text("not FITS at all")
    fits.PrimaryHDU(np.zeros((8, 8)), fits.Header({"TELESCOP": "HINODE"})).writeto("other.fits")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    files = [str(f) for f in sample.aia_files()]
    arguments = [part for a in arguments for part in (files if a == "FILES" else [a])]
    if "--output" not in arguments:
        arguments += ["--output", "dem.fits"]
    assert main(["invert", *arguments]) == 1
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_help_and_version(capsys):
    for arguments, words in ((["--help"], "invert"), (["--version"], "sunpy-demreg"), (["demo", "--help"], "--output")):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
        assert words in capsys.readouterr().out
