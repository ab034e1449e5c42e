"""Many times on one grid: cutouts that follow the rotation, in a series, in a batch and on the command line."""

import pickle
from importlib.resources import files as resources
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.callbacks import Callback

import astropy.units as u
from astropy.io import fits
from sunpy.map import Map

from sunpy_demreg import (
    DataWarning,
    TemperatureResponse,
    batch_invert,
    invert,
    prepare,
    prepare_series,
    read,
    region_spectrum,
    sample,
)
from sunpy_demreg._channels import fits_maps, lazy_blocks
from sunpy_demreg._channels.positions import Affine, locator
from sunpy_demreg._channels.resample import Grid
from sunpy_demreg._cli.main import main
from sunpy_demreg._common.grids import grid_difference

CUTOUTS = resources("demregpy") / "tests/data/aia_flare"  # ten times of the X2.2 flare of 2011-02-15, level 1
TIMES = ("01-44", "01-52", "02-02")
BINS = 10 ** np.arange(5.7, 7.2, 0.3) * u.K
ALL_TIMES = ("01-44", "01-46", "01-48", "01-50", "01-52", "01-54", "01-56", "01-58", "02-00", "02-02")
GRID = ("crpix1", "crpix2", "crval1", "crval2", "crota2", "cdelt1", "cdelt2")
TOLERANCE = {"tolerance": 30 * u.s}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)"),
    pytest.mark.filterwarnings("ignore:`maps` are still shifted"),
    pytest.mark.filterwarnings("ignore::erfa.ErfaWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All of the cutouts, without a keyword that is no good for their values, of which astropy warns."""
    folder = tmp_path_factory.mktemp("cutouts")
    for path in CUTOUTS.glob("*.fits"):
        with fits.open(path, ignore_blank=True) as hdus:
            header, data = hdus[-1].header, hdus[-1].data
            del header["BLANK"]
            fits.writeto(folder / path.name, data, header)
    return folder


@pytest.fixture(scope="module")
def cutouts(folder):
    """Files of three times, by wavelength; the last time is moved by four pixels against the first."""
    return [sorted(map(str, folder.glob(f"*T{time}*.fits")), key=lambda name: name[-8:]) for time in TIMES]


@pytest.fixture(scope="module")
def flare(cutouts):
    return [file for one in cutouts for file in one]


@pytest.fixture(scope="module")
def series(flare):
    return prepare_series(flare, **TOLERANCE)


@pytest.fixture(scope="module")
def store(flare, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "flare.zarr"
    report = batch_invert(flare, path, BINS, **TOLERANCE)
    assert [step.outcome for step in report.steps] == ["done"] * 3
    return path


def assert_same(cube, other):
    np.testing.assert_array_equal(cube.data, other.data)
    np.testing.assert_array_equal(cube.uncertainty.array, other.uncertainty.array)
    np.testing.assert_array_equal(cube.mask, other.mask)


# ---- series


def test_cutouts_are_put_on_the_grid_of_the_first_time(series, cutouts):
    first = Map(cutouts[0][0])
    assert first.wavelength == 94 * u.AA
    for i, one in enumerate(cutouts):
        assert_same(series[:, i], prepare(one, reference=first))
    y, x = np.indices((67, 67))
    moved = series[:, 1].wcs.low_level_wcs.pixel_to_world_values(x, y, 0)[:2]
    np.testing.assert_array_equal(moved, first.wcs.pixel_to_world_values(x, y))
    # What a time does not cover is told.
    missing = np.isnan(series.data.compute()).mean(axis=(0, 2, 3))
    assert missing[0] < missing[1] < missing[2] < 0.1
    assert series.meta["steps"] == ["align", "exposure"]


@pytest.mark.parametrize("kind", ["wavelength", "name", "map", "file", "path"])
def test_series_on_the_grid_of_a_reference(flare, cutouts, kind):
    """A wavelength is that of the first time."""
    [file] = [file for file in cutouts[0] if file.endswith("171.fits")]
    kinds = {"wavelength": 171 * u.AA, "name": "AIA 171", "map": Map(file), "file": file, "path": Path(file)}
    reference = kinds[kind]
    series = prepare_series(flare, reference=reference, **TOLERANCE)
    for i, one in enumerate(cutouts):
        assert_same(series[:, i], prepare(one, reference=Map(file)))


def test_series_of_averages_and_of_a_field(flare, cutouts):
    first = Map(cutouts[0][0])
    corners = tuple(first.pixel_to_world(x * u.pix, y * u.pix) for x, y in ((10, 12), (40, 47)))
    options = {"submap": corners, "bin": 3, "correct_degradation": True}
    series = prepare_series(flare, **options, **TOLERANCE)
    assert series.shape == (6, 3, 12, 10)
    for i, one in enumerate(cutouts):
        assert_same(series[:, i], prepare(one, reference=first, **options))


def test_cutouts_that_are_far_away_are_told(flare):
    maps = [Map(file) for file in flare]
    for smap in maps[12:]:
        smap.meta["crpix1"] -= 40
    with pytest.warns(DataWarning, match=r"^`maps`: 1 of 3 times cover less than half .* \(2011-02-15T02:02:02 3\d%\)"):
        prepare_series(maps, **TOLERANCE)


def test_without_alignment_grids_must_agree(flare):
    maps = [Map(file) for file in flare]
    for smap in maps:
        smap.meta.update({key: maps[0].meta[key] for key in ("crpix1", "crpix2", "crota2", "cdelt1", "cdelt2")})
    same = prepare_series(maps, align=False, **TOLERANCE)
    assert same.meta["steps"] == ["exposure"]
    for smap in maps[6:]:
        smap.meta["crpix1"] += 1
    with pytest.raises(ValueError, match=r"grids of `data\[0\]` and `data\[1\]` differ by up to 1\.00 pixels"):
        prepare_series(maps, align=False, **TOLERANCE)


@pytest.fixture
def moving(series_folder):
    """Level 1.5 of three times; the second is moved by two pixels."""
    maps = [Map(path) for path in sorted(series_folder.glob("*.fits"))]
    for smap in maps[6:12]:
        smap.meta["crpix1"] -= 2
    return maps


def test_level_1_5_is_interpolated_only_where_it_moves(moving, series_folder):
    series = prepare_series(moving, n_sample=16)
    plain = prepare_series(series_folder, n_sample=16)
    assert series.meta["steps"] == ["align", "exposure"]
    assert (series.meta["level"], plain.meta["steps"]) == (1.5, ["exposure"])
    for i in (0, 2):
        assert_same(series[:, i], plain[:, i])
    # By whole pixels: no value changes.
    np.testing.assert_array_equal(series[:, 1].data[..., 2:], plain[:, 1].data[..., :-2])
    assert np.isnan(series[:, 1].data[..., :2].compute()).all()


@pytest.mark.parametrize("bin", [1, 2])
def test_regions_count_shared_pixels_of_interpolated_times(moving, bin):
    """Of these only; each time is as it would be alone, also with pointing that wanders by less than is noticed."""
    for i, smap in enumerate(moving):
        smap.meta["crpix1"] += 0.5 * (6 <= i < 12) + 0.06 * (i >= 12)
    options = {"n_sample": 16, "bin": bin}
    series = prepare_series(moving, **options)
    assert series.meta["source_wcs"].shape == (6, 3)
    mask = np.zeros(series.shape[2:], dtype=bool)
    mask[3:6, 5:7] = True
    found = region_spectrum(series, mask).uncertainty.array[:, :, 0]
    for k in range(3):
        one = prepare(moving[6 * k : 6 * k + 6], reference=moving[0] if k == 1 else None, **options)
        np.testing.assert_allclose(found[:, k], region_spectrum(one, mask).uncertainty.array[:, 0], rtol=1e-6)
        assert ("source_wcs" in one.meta) == (k == 1)
    part = region_spectrum(series[1:3, 1:, :, 2:], mask[:, 2:]).uncertainty.array[..., 0]
    np.testing.assert_allclose(part, found[1:3, 1:], rtol=1e-6)


def test_channel_that_a_moving_time_lacks(moving):
    series = prepare_series(moving[:8] + moving[9:], n_sample=16, max_missing_channels=1)
    whole = prepare_series(moving, n_sample=16)
    is_there = np.arange(6) != 2
    np.testing.assert_array_equal(series.data[is_there], whole.data[is_there])
    assert np.isnan(series.data[2, 1].compute()).all()


# ---- lazily


def psfs(shape):
    """Of each channel, all of a pixel in it and its neighbors."""
    functions = {}
    for channel, width in ((94, 1), (131, 2), (171, 1), (193, 2), (211, 1), (335, 2)):
        psf = np.zeros(shape)
        psf[shape[0] // 2, shape[1] // 2 - width : shape[1] // 2 + width + 1] = 1 / (2 * width + 1)
        functions[channel] = psf
    return functions


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(lazy_blocks, "_BLOCK", (13, 30))


LAZY = {
    "plain": ({}, ["align", "exposure"]),
    "averages": ({"bin": 3}, ["align", "bin", "exposure"]),
    "deconvolved": ({"psf": psfs((67, 67))}, ["psf", "align", "exposure"]),
    "deconvolved where they are": ({"psf": psfs((67, 67)), "align": False}, ["psf", "exposure"]),
    "averages where they are": ({"bin": 4, "align": False}, ["bin", "exposure"]),
}


KINDS = ("files", "maps", "Dask arrays", "masked", "other projections")


@pytest.mark.parametrize(
    ("case", "kind"),  # the grids of the files differ
    [(case, kind) for case in LAZY for kind in KINDS if not ("where they are" in case and kind == "files")],
)
def test_blocks_are_those_of_the_whole(cutouts, small_blocks, case, kind):
    """To the last bit, whatever the images are in, and where they lie."""
    options, steps = LAZY[case]
    times = cutouts[::2]
    if kind != "files":
        times = [[Map(file) for file in files] for files in times]
    if kind == "other projections":  # of their centers, as cutouts of some archives are
        for i, smap in enumerate(smap for maps in times for smap in maps):
            smap.meta.update({"crval1": smap.meta["crval1"] + 300 + i / 7, "crval2": smap.meta["crval2"] - 200})
            smap.meta["crpix1"] += (300 + i / 7) / smap.meta["cdelt1"]
            smap.meta["crpix2"] -= 200 / smap.meta["cdelt2"]
    if not options.get("align", True):
        for smap in (smap for maps in times for smap in maps):
            smap.meta.update({key: times[0][0].meta[key] for key in GRID})
    first = Map(times[0][0])
    given = [each for maps in times for each in maps]
    if kind in ("Dask arrays", "masked"):
        given = [Map(da.from_array(smap.data, chunks=(11, 25)), smap.meta) for smap in given]
    if kind == "masked":
        for maps, lazy in ((m, given[6 * i : 6 * i + 6]) for i, m in enumerate(times)):
            for i, (smap, other) in enumerate(zip(maps, lazy, strict=True)):
                mask = np.zeros(smap.data.shape, dtype=bool)
                mask[20 + i, 5:9] = True
                maps[i] = Map(smap.data, smap.meta, mask=mask)
                lazy[i] = Map(other.data, other.meta, mask=da.from_array(mask, chunks=17))
            given[6 * (maps is times[1]) : 6 * (maps is times[1]) + 6] = lazy
    series = prepare_series(given, **options, **TOLERANCE)
    assert series.meta["steps"] == steps
    assert max(series.data.numblocks[2:]) > 1
    for i, maps in enumerate(times):
        reference = {} if not options.get("align", True) else {"reference": first}
        alone = prepare(maps, **options, **reference)
        assert_same(series[:, i], alone)
        assert (kind == "masked") == bool((alone.mask & np.isfinite(alone.uncertainty.array)).any())


def test_only_headers_are_read_at_first_and_then_what_is_needed(flare, small_blocks, monkeypatch):
    read_of, get = [], fits_maps._Image.__getitem__

    def noted(image, item):
        read_of.append((image.path.name, item))
        return get(image, item)

    monkeypatch.setattr(fits_maps._Image, "__getitem__", noted)
    series = prepare_series(flare, **TOLERANCE)
    assert not read_of
    series.data[:, 1, 30:34, 2:20].compute()
    assert len(read_of) == 6
    assert all(TIMES[1] in name for name, _ in read_of)
    assert all(rows.stop - rows.start < 20 for _, (rows, _) in read_of)


@pytest.mark.parametrize("n_times", [2, 8])
def test_memory_does_not_depend_on_the_number_of_times(folder, small_blocks, n_times):
    """Nothing is kept of a block when another one is computed."""
    files = [file for file in sorted(folder.glob("*.fits")) if file.name.split("T")[1][:5] in ALL_TIMES[:n_times]]
    series = prepare_series(files, **TOLERANCE)
    assert series.shape[1] == n_times
    kept = []

    class Kept(Callback):
        def _posttask(self, key, result, dsk, state, worker_id):
            values = [each for each in state["cache"].values() if isinstance(each, tuple | np.ndarray)]
            parts = [part for each in values for part in (each if isinstance(each, tuple) else (each,))]
            sizes = [part.nbytes for part in parts if not isinstance(part, str)]  # which are words about an image
            kept.append(sum(sizes))

    class Nothing:
        def __setitem__(self, item, value):
            pass

    with Kept(), dask.config.set(scheduler="synchronous"):
        da.store([series.data, series.uncertainty.array, series.mask], [Nothing()] * 3, lock=False)
    one = 6 * 13 * 30 * 17
    assert max(kept) <= 3 * one


WHOLE = {
    "where they are": {},
    "interpolated": {"reference": 171 * u.AA},
    "averages": {"bin": 2},
    "cut out": {"submap": (40, 110)},
    "deconvolved": {"psf": psfs((128, 128)), "align": False},
}
FAULTS = {
    "rates": (lambda data, smap: data / smap.exposure_time.value, r"may already be divided by .*`maps\[0\]`"),
    "sums": (lambda data, smap: data * 1.7, r"may be sums of pixels: `maps\[0\]` \(its mean.* 1\.7 times"),
}


def chosen(smap, options):
    """Options for maps like one of 16 pixels averaged, with the rows of a field made coordinates."""
    if "submap" in options:
        y = options["submap"]
        options = {"submap": tuple(smap.wcs.pixel_to_world(*each) for each in ((10, y[0]), (100, y[1])))}
    return {"n_sample": 16} | options


def with_fault(change, level=1.5):
    """Maps whose headers have the mean of what they hold before the change, in arrays of NumPy and of Dask."""
    given = sample.aia_maps()
    for smap in given:
        smap.meta.update({"datamean": smap.data.mean(), "datavals": smap.data.size, "lvl_num": level})
    given = [Map(change(smap.data, smap), smap.meta) for smap in given]
    return given, [Map(da.from_array(smap.data, chunks=(20, 50)), smap.meta) for smap in given]


@pytest.fixture
def low_blocks(monkeypatch):
    monkeypatch.setattr(lazy_blocks, "_BLOCK", (20, -1))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", WHOLE)
def test_sums_and_rates_are_told_of_the_whole_image(low_blocks, case, fault):
    """As by `prepare`, once, though each block reads a part: with the first of these."""
    change, words = FAULTS[fault]
    maps, lazy = with_fault(change, 1 if case == "deconvolved" else 1.5)
    options = chosen(maps[0], WHOLE[case])
    with pytest.warns(DataWarning, match=words) as expected:
        alone = prepare(maps, **options)
    series = prepare_series(lazy, **options)
    assert series.data.numblocks[2] > 2
    series.data[:, :, -4:].compute()  # of a part of it nothing is told: a warning would be an error
    with pytest.warns(DataWarning, match=words) as caught:
        np.testing.assert_array_equal(series.data[:, 0].compute(), alone.data)
    assert [str(each.message) for each in caught] == [str(each.message) for each in expected]


def test_good_images_are_not_told_of(low_blocks):
    _, lazy = with_fault(lambda data, smap: data)
    prepare_series(lazy, n_sample=16, bin=2).data.compute()


def test_small_fields_are_told_of_by_the_first_time(low_blocks, tmp_path):
    """To examine images costs reading them: once where less than half of their rows are needed."""
    change, words = FAULTS["rates"]
    maps, lazy = with_fault(change)
    corners = tuple(maps[0].wcs.pixel_to_world(*each) for each in ((80, 40), (120, 90)))  # on the disk
    options = {"n_sample": 16, "submap": corners}
    with pytest.warns(DataWarning, match=words) as expected:
        prepare(maps, **options)
    later = [Map(smap.data, {**smap.meta, "date-obs": (smap.date + 1 * u.hour).isot}) for smap in lazy]
    for smap in later:
        smap.meta.pop("t_obs", None)
    series = prepare_series([*lazy, *later], **options)
    assert series.shape[1] == 2
    with pytest.warns(DataWarning, match=words) as caught:
        series.data[:, 0].compute()
    assert [str(each.message) for each in caught] == [str(each.message) for each in expected]
    series.data[:, 1].compute()  # a warning would be an error
    with pytest.warns(DataWarning, match=words) as caught:
        batch_invert([*lazy, *later], tmp_path / "x.zarr", BINS, prepare_options=options)
    assert sum("divided" in str(each.message) for each in caught) == 1


@pytest.mark.filterwarnings("ignore:`maps`. `correct_shifts` did not move")
def test_rates_in_files_are_told_once_with_shifts(low_blocks, tmp_path):
    """Which are measured on whole images, that are examined then; files are read as a whole to examine them."""
    maps, _ = with_fault(FAULTS["rates"][0])
    files = [tmp_path / f"{i}.fits" for i in range(6)]
    for smap, file in zip(maps, files, strict=True):
        Map(smap.data, {key: value for key, value in smap.meta.items() if key != "keycomments"}).save(file)
    words = r"may already be divided by their exposure time.*0\.fits"
    series = prepare_series(files, n_sample=16, reference=171 * u.AA)
    with pytest.warns(DataWarning, match=words) as caught:
        series.data.compute()
    assert len(caught) == 1
    with pytest.warns(DataWarning, match=words) as caught:
        series = prepare_series(files, n_sample=16, correct_shifts=True)
    assert sum("divided" in str(each.message) for each in caught) == 1
    series.data.compute()
    with pytest.warns(DataWarning, match=words) as caught:
        batch_invert(files, tmp_path / "x.zarr", BINS, prepare_options={"n_sample": 16, "bin": 2})
    assert sum("divided" in str(each.message) for each in caught) == 1


@pytest.mark.parametrize("case", WHOLE)
def test_counts_above_the_detector_are_refused_in_each_block(monkeypatch, case):
    """By their share of the block, and of the whole image with the first one."""
    rng = np.random.default_rng(3)

    def change(data, _):
        return np.where(rng.random(data.shape) < 0.03, 3e4, data)

    maps, lazy = with_fault(change, 1 if case == "deconvolved" else 1.5)
    options = chosen(maps[0], WHOLE[case])
    words = r"`maps\[\d\]` holds sums of pixels, .*: 3% of its pixels "
    with pytest.raises(ValueError, match=words + "are above the 19661 DN"):
        prepare(maps, **options)
    lazy = [Map(smap.data.rechunk((64, -1)), smap.meta) for smap in lazy]
    monkeypatch.setattr(lazy_blocks, "_BLOCK", (5, -1))
    series = prepare_series(lazy, **options)
    with pytest.raises(ValueError, match=words + "are above the 19661 DN"):
        series.data[:, :, :4].compute()
    monkeypatch.setattr(lazy_blocks, "_BLOCK", (-(-series.shape[2] // 2), -1))
    series = prepare_series(lazy, **options)
    assert series.data.numblocks[2] == 2
    with pytest.raises(ValueError, match=r"holds sums of pixels, .*: [234]% of its pixels in a block are above"):
        series.data[:, :, -4:].compute()


@pytest.mark.parametrize("crval", [0, 0.1])
def test_positions_have_the_same_bits_in_another_process(flare, crval):
    """Also where no plane describes them: astropy would round their coordinates."""
    wcs, other = (Map(file).wcs for file in flare[:2])
    other.wcs.crval = [crval, 0]
    other.wcs.set()
    found = locator(wcs, (67, 67), other)
    assert isinstance(found, Affine) == (crval == 0)
    rows, columns = np.arange(67)[:, None], np.arange(67)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))(rows, columns), found(rows, columns))


# ---- batch


def test_batch_is_as_the_series(flare, series, store):
    result = read(store)
    corrected = prepare_series(flare, correct_degradation=True, **TOLERANCE)
    expected = invert(corrected, TemperatureResponse.from_aia(corrected), BINS)
    assert grid_difference(result["status"][0].wcs, (67, 67), series[0, 0].wcs, (67, 67), most=1e-6) is None
    np.testing.assert_array_equal(result["dem"].data.compute(), expected["dem"].data.compute())


def test_each_step_has_its_own_date_and_observer(store, cutouts):
    headers = zarr.open_group(store, mode="r")["fits_header"][:]
    for header, files in zip(headers, cutouts, strict=True):
        found = fits.Header.fromstring(header.tobytes().decode("ascii"))
        first = Map(files[0])
        assert found["DATE-OBS"] == first.date.isot
        assert found["DSUN_OBS"] == pytest.approx(first.dsun.to_value(u.m), rel=1e-12)


def test_all_ten_times_of_the_flare(folder, tmp_path):
    report = batch_invert(folder, tmp_path / "a.zarr", BINS, outputs=("dem",), prepare_options={"bin": 8}, **TOLERANCE)
    assert [step.outcome for step in report.steps] == ["done"] * 10


@pytest.mark.parametrize("bin", [1, 4])
def test_earlier_files_go_to_the_grid_of_the_store(flare, cutouts, tmp_path, bin):
    options = {"prepare_options": {"bin": bin}, **TOLERANCE}
    batch_invert(flare[6:], tmp_path / "a.zarr", BINS, **options)
    before = read(tmp_path / "a.zarr")["dem"].data.compute()
    report = batch_invert(flare, tmp_path / "a.zarr", BINS, **options)
    assert sorted(step.outcome for step in report.steps) == ["done", "kept", "kept"]
    after = read(tmp_path / "a.zarr")["dem"].data.compute()
    np.testing.assert_array_equal(after[:, 1:], before)
    cube = prepare(cutouts[0], reference=Map(flare[6]), bin=bin, correct_degradation=True)
    expected = invert(cube, TemperatureResponse.from_aia(cube), BINS)["dem"].data
    np.testing.assert_allclose(after[:, 0], expected, rtol=1e-6, atol=1e-9 * np.nanmax(expected))


def test_grid_from_that_of_averages(flare):
    smap = Map(flare[3])
    fine = Grid(smap.wcs, (64, 60), 4)
    again = Grid.of_binned(fine.binned_wcs, fine.binned_shape, 4)
    assert again.shape == fine.shape
    assert grid_difference(again.wcs, again.shape, fine.wcs, fine.shape, most=1e-9) is None
    # Nothing is left of it where positions are rounded.
    rows, columns = np.arange(64)[:, None], np.arange(60)
    places = (locator(wcs, (64, 60), smap.wcs)(rows, columns) for wcs in (again.wcs, fine.wcs))
    np.testing.assert_array_equal(*places)


# ---- command line


@pytest.mark.parametrize("kind", ["171", "file"])
def test_reference_on_the_command_line(flare, cutouts, tmp_path, kind):
    [file] = [file for file in cutouts[1] if file.endswith("171.fits")]
    command = ["--log-t", "5.7", "6.9", "0.3", "--reference", file if kind == "file" else kind, "--bin", "4"]
    assert main(["batch", *flare[6:], "--tolerance", "30", "--output", str(tmp_path / "a.zarr"), *command]) == 0
    grid = Grid(Map(file).wcs, (64, 64), 4)
    found = read(tmp_path / "a.zarr")["status"][0]
    assert grid_difference(found.wcs, found.shape, grid.binned_wcs, grid.binned_shape, most=1e-6) is None
    assert main(["invert", *flare[12:], "--output", str(tmp_path / "a.fits"), *command]) == 0


def test_reference_that_is_no_file(flare, tmp_path, capsys):
    assert main(["invert", *flare[:6], "--output", str(tmp_path / "a.fits"), "--reference", "none.fits"]) == 1
    assert "`--reference`: there is no file none.fits: give a map, its file, or the" in capsys.readouterr().err
