"""Batches that store what people keep: fewer bits, emission measures without a DEM, or inputs alone."""

import numpy as np
import pytest
import zarr

import astropy.units as u
from astropy.io import fits

from sunpy_demreg import (
    TemperatureResponse,
    batch_invert,
    emission_measure,
    invert,
    prepare,
    read,
    to_map,
    to_xarray,
    write,
)
from sunpy_demreg._cli.main import main
from sunpy_demreg._files.inputs import rounded
from sunpy_demreg.visualization import plot_emission_measure

BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pixels were not solved"),
    pytest.mark.filterwarnings("ignore::erfa.ErfaWarning"),
]


def by_hand(folder, step, change=lambda cube: cube, **options):
    cube = prepare(sorted(map(str, folder.glob(f"step{step}_*"))), n_sample=16, correct_degradation=True)
    return invert(change(cube), TemperatureResponse.from_aia(cube), BINS, dtype="float32", **options)


@pytest.mark.parametrize("outputs", [None, ("dem", "emission_measure", "is_resolved")])
def test_inputs_alone(series_folder, tmp_path, outputs):
    path, options = tmp_path / "a.zarr", {} if outputs is None else {"outputs": outputs}
    if outputs is not None:
        options["emission_measure_ranges"] = [[1, 2], [2, 4]] * u.MK
    batch_invert(series_folder, path, BINS, contents="inputs", **OPTIONS, **options)
    assert not (path / "dem").exists()
    result = read(path)
    for step in range(3):
        expected = by_hand(series_folder, step, rounded, **options)
        found = result[step]
        assert found.keys() - {"intensity"} == expected.keys() - {"intensity"}
        for key, cube in expected.items():
            np.testing.assert_array_equal(found[key].data, cube.data)
            assert found[key].data.dtype == cube.data.dtype
            if cube.uncertainty is not None:
                np.testing.assert_array_equal(found[key].uncertainty.array, cube.uncertainty.array)
    report = batch_invert(series_folder, path, BINS, contents="inputs", **OPTIONS, **options)
    assert {step.outcome for step in report.steps} == {"kept"}
    with pytest.raises(ValueError, match=r"`path` .* contents is .*inputs of .* there and .*result.* now"):
        batch_invert(series_folder, path, BINS, **OPTIONS, **options)


@pytest.mark.parametrize("calibration_error", [0.1, {"AIA 94": 0.5, "AIA 171": 0.05}, "atomic"])
@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_inputs_hold_the_errors_of_calibration(series_folder, tmp_path, method, calibration_error):
    """What is read is computed of what was inverted, to the last bit; so every λ is that of the store."""
    path, options = tmp_path / "a.zarr", {"method": method, "calibration_error": calibration_error}
    more = {"prepare_options": {"n_sample": 16}, "common_calibration_error": 0.2}
    batch_invert(series_folder, path, BINS, contents="inputs", **more, **options)
    group = zarr.open_group(path)
    result = read(path)
    found = result["regularization_parameter"].data.compute()
    np.testing.assert_array_equal(found, group["regularization_parameter"][:])
    whole = read(path)[0]
    plain = tmp_path / "b.zarr"
    batch_invert(series_folder, plain, BINS, **more, **options)
    expected = read(plain)[0]
    assert whole.meta["calibration_error"] == expected.meta["calibration_error"]
    for name in ("dem", "chi_squared"):
        scale = np.nanmax(np.abs(expected[name].data.compute()), axis=0)
        np.testing.assert_array_less(np.nanmax(np.abs(whole[name].data - expected[name].data) / scale), 1e-3)


@pytest.mark.parametrize("encoding", ["bitround", "log"])
def test_encoded_steps(series_folder, tmp_path, encoding):
    path = tmp_path / "a.zarr"
    batch_invert(series_folder, path, BINS, encoding=encoding, **OPTIONS)
    result = read(path)
    for step in range(3):
        expected = by_hand(series_folder, step)["dem"].data
        np.testing.assert_allclose(result[step]["dem"].data, expected, rtol=0.016)
    with pytest.raises(ValueError, match=rf"`path` .* encoding is .*{encoding}.* there and .* now"):
        batch_invert(series_folder, path, BINS, encoding="float32", **OPTIONS)


def test_command_that_stores_emission_measures_only(series_folder, tmp_path, capsys):
    path = tmp_path / "a.zarr"
    command = ["batch", str(series_folder), "--output", str(path), "--n-sample", "16", "--log-t", "5.6", "7.4", "0.2"]
    assert main([*command, "--em-ranges", "5.8,6.2,6.6", "--encoding", "log"]) == 0
    result = read(path)
    assert set(result) == {"emission_measure", "chi_squared", "omitted_channels", "status"}
    assert result.meta["emission_measure_ranges"].shape == (2, 2)
    expected = by_hand(series_folder, 1, emission_measure_ranges=10 ** np.array([[5.8, 6.2], [6.2, 6.6]]) * u.K)
    found = result[1]["emission_measure"]
    np.testing.assert_allclose(found.data, expected["emission_measure"].data, rtol=0.012)
    np.testing.assert_allclose(found.uncertainty.array, expected["emission_measure"].uncertainty.array, rtol=0.012)
    ranges = result.meta["emission_measure_ranges"]
    for i, words in enumerate(["log T 5.80-6.20", "log T 6.20-6.60"]):
        em = emission_measure(result[1], ranges[i].to(u.MK))
        np.testing.assert_array_equal(em.data, found.data[i])
        np.testing.assert_array_equal(em.uncertainty.array, found.uncertainty.array[i])
        assert em.meta["content"] == f"emission measure, {words}"
        assert to_map(found)[i].meta["content"] == to_map(em).meta["content"] == em.meta["content"]
    for pair, more in (([1, 2] * u.MK, {}), (ranges[0], {"resolved_only": True}), (None, {})):
        with pytest.raises(ValueError, match=r"`result` lacks 'dem' \(.*: log T 5.80-6.20, log T 6.20-6.60\)"):
            emission_measure(result[1], pair, **more)
    with pytest.raises(ValueError, match="`temperature_range` must be ascending pairs inside the temperature bins"):
        emission_measure(result, [2, 1] * u.MK)
    artist = plot_emission_measure(result[1], ranges[0])
    np.testing.assert_array_equal(artist.get_array().filled(np.nan), found.data[0])
    with pytest.raises(ValueError, match=r"in these ranges, .*, only: log T 5\.80-6\.20, log T 6\.20-6\.60"):
        plot_emission_measure(result[1], [1, 2] * u.MK)
    write(result[1], tmp_path / "all.fits")
    write(found, tmp_path / "em.fits")
    for name, image in (("all.fits", "EMISSION_MEASURE"), ("em.fits", 0)):
        header = fits.getheader(tmp_path / name, image)
        assert [header[f"PLANE{i}"] for i in (1, 2)] == found.meta["content"].tolist()
    assert to_xarray(result)["range_high"].values.tolist() == ranges[:, 1].value.tolist()
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "log T 5.80-6.20, 6.20-6.60" in told
    assert "2014-01-01 00:00:05 to 2014-01-01 00:04:05 UT, 3 times" in told
    assert main([*command[:3], str(tmp_path / "b.zarr"), *command[4:], "--contents", "inputs"]) == 0
    np.testing.assert_array_equal(
        read(tmp_path / "b.zarr")[1]["dem"].data, by_hand(series_folder, 1, rounded)["dem"].data
    )
    capsys.readouterr()
    assert main([*command, "--contents", "inputs", "--encoding", "log"]) == 1
    assert "`--encoding` 'log' would change the inputs" in capsys.readouterr().err
    for ranges in ("5.8", "6.2,5.8", "a,b"):
        with pytest.raises(SystemExit):
            main([*command, "--em-ranges", ranges])
        assert "must be two or more ascending log10(T/K)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--em-ranges", "1e6,2e6"])
    assert "must be log10(T/K), but '1e6,2e6' seems to be in kelvin, for which it is 6,6.301" in capsys.readouterr().err
    assert main([*command[:-3], "4e5", "2e7", "0.1"]) == 1
    assert "`--log-t` must be log10(T/K) between 3 and 9, such as" in (told := capsys.readouterr().err)
    assert "400000 K is 5.602" in told
    assert main([*command[:3], str(tmp_path / "c.zarr"), *command[4:], "--em-ranges", "3.1,9"]) == 1
    assert (
        "`--em-ranges` must lie within the bins of `--log-t`, log10(T/K) = 5.60 to 7.40, but are from 3.10 to 9.00\n"
        in (capsys.readouterr().err)
    )
    assert not (tmp_path / "c.zarr").exists()
