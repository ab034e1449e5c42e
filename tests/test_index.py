"""The index of a batch: the facts of files without their maps, kept with the store; the steps made of them."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr

import astropy.units as u
from astropy.io import fits
from sunpy.map import Map

from sunpy_demreg import batch_invert, batch_status, read
from sunpy_demreg._batch.index import Index
from sunpy_demreg._batch.report import BatchReport, Outcomes
from sunpy_demreg._batch.steps import Steps, _windows
from sunpy_demreg._channels import facts
from sunpy_demreg._channels.series import image_of, items, series_sets
from sunpy_demreg._channels.time_sets import exposure_sets, time_sets
from sunpy_demreg._common.dates import from_microseconds
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg._files.zarr_read import latest_steps, superseded

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)")
BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32"}
NO_211 = "no image of 211 Å within `tolerance`, 12 s: the nearest that another step has is 118.5 s away"


@pytest.fixture
def folder(series_folder, tmp_path):
    """A copy of the files, to spoil."""
    return Path(shutil.copytree(series_folder, tmp_path / "files"))


def facts_of(path, run=map):
    return facts.facts_of_files([(str(path), path, path.stat().st_size)], run)[0]


def compressed(path):
    """The file as the archive delivers it: the image behind an empty primary header, compressed."""
    smap = Map(path)
    header = fits.Header({key.upper(): v for key, v in smap.meta.items() if key not in ("keycomments", "comment")})
    path.unlink()
    fits.CompImageHDU(np.rint(smap.data).astype(np.int16), header, compression_type="RICE_1").writeto(path)


# ---- facts


@pytest.mark.parametrize("change", ["none", "compressed", "304", "TAI", "nanometers", "two images", "no date", "HMI"])
def test_facts_are_those_of_the_map(folder, change, monkeypatch):
    path = folder / "step1_171.fits"
    if change == "compressed":
        compressed(path)
    elif change == "two images":
        fits.append(path, np.zeros((3, 3)))
    elif change != "none":
        new = {
            "304": {"WAVELNTH": 304},
            "TAI": {"DATE-OBS": "2014.01.01_00:02:36.34_TAI"},
            "nanometers": {"WAVELNTH": 17.1, "WAVEUNIT": "nm"},
            "no date": {"DATE-OBS": "?"},
            "HMI": {"INSTRUME": "HMI_SIDE1"},
        }
        with fits.open(path, mode="update") as hdus:
            hdus[0].header.update(new[change])
    is_usual = change in ("none", "compressed", "304")
    with monkeypatch.context() as patch:
        if is_usual:
            patch.setattr(facts, "image_of", None)  # no map is needed
        found = facts_of(path)
    image = image_of(str(path), path)
    assert (found.channel, found.problem) == (image.channel, image.problem)
    assert found.channel == {"304": 304, "two images": 0, "no date": 0, "HMI": 0}.get(change, 171)
    if image.map is not None:
        date = image.map.date.utc
        assert (found.seconds, found.jd1, found.jd2) == (image.seconds, date.jd1, date.jd2)
        assert found.exposure == image.map.exposure_time.to_value(u.s) > 0


def test_digest_tells_versions_of_a_file(folder):
    path = folder / "step1_171.fits"
    before = facts_of(path).digest
    assert facts_of(path).digest == before > 0
    assert facts_of(folder / "step1_193.fits").digest != before
    content = path.read_bytes()
    path.write_bytes(content[:-2880])
    assert facts_of(path).problem.startswith("File may have been truncated")
    assert facts_of(path).digest != before
    path.write_bytes(content)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["HISTORY"] = "again"
    assert facts_of(path).digest != before
    path.write_bytes(content)
    assert facts_of(path).digest == before


# ---- the kept table


def test_files_are_read_once(folder, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()

    def rows():
        with Index(kept) as index:
            index.add(folder)
            index.keep()
            return index.n_read, index.db.execute("SELECT * FROM images ORDER BY name").fetchall()

    n_read, first = rows()
    assert n_read == len(first) == 18
    n_read, second = rows()
    assert n_read == 0
    assert [row[1:] for row in second] == [row[1:] for row in first]
    smap = Map(folder / "step1_171.fits")
    smap.meta["history"] = "repaired"
    smap.save(folder / "step1_171.fits", overwrite=True)
    (folder / "step2_094.fits").unlink()
    n_read, third = rows()
    assert n_read == 1
    assert len(third) == 17
    (kept / "index.sqlite").write_bytes(b"no table")
    n_read, fourth = rows()
    assert n_read == 17
    assert [row[1:] for row in fourth] == [row[1:] for row in third]
    assert [path.name for path in kept.iterdir()] == ["index.sqlite"]


def test_index_is_kept_while_files_are_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sunpy_demreg._batch.index._AT_ONCE", 5)
    monkeypatch.setattr("sunpy_demreg._batch.index._PAUSE", 0)

    def broken(maps):
        for k, each in enumerate(items(maps)):
            if k == 12:
                raise KeyboardInterrupt
            yield each

    with monkeypatch.context() as patch, Index(tmp_path) as index:
        patch.setattr("sunpy_demreg._batch.index.items", broken)
        with pytest.raises(KeyboardInterrupt):
            index.add(folder)
    with Index(tmp_path) as index:
        index.add(folder)
        assert index.n_read == 8


# ---- steps


@pytest.fixture
def year(tmp_path, monkeypatch):
    """An index of three days of images that are nowhere, with gaps, drifts, and images that are missing or twice."""
    random = np.random.default_rng(0)
    with Index(tmp_path) as index:
        rows = []
        for c, channel in enumerate((94, 131, 171, 193, 211, 335)):
            times = 1.4e9 + np.arange(0, 3 * 86400, 120) + 2.0 * c + random.uniform(-3, 3, 2160)
            times = times[(random.random(2160) > 0.02) & (np.abs(times - 1.4e9 - 150000) > 40000)]
            for k, seconds in enumerate(times.tolist()):
                rows.append(
                    (
                        f"{channel} {k}",
                        None,
                        0,
                        0,
                        channel,
                        seconds,
                        2456800.0,
                        seconds / 86400 % 1,
                        k + 1,
                        None,
                        2.0,
                        None,
                    )
                )
        index._insert(rows)
        yield index


@pytest.mark.parametrize("most_missing", [0, 1])
@pytest.mark.parametrize("kind", [time_sets, exposure_sets])
def test_sets_are_those_of_all_images_at_once(year, most_missing, kind):
    make_sets = partial(kind, tolerance=30.0, most_missing=most_missing, n_channels=6)
    whole, left = make_sets(year.images(0, np.inf))
    sets, left_over = [], []
    for some, rest in _windows(year, 30.0, make_sets):
        sets += some
        left_over += rest
    assert len(sets) > 800

    def names(sets):
        return [sorted(image.name for image in each) for each in sets]

    assert names(sets) == names(whole)
    assert names([left_over]) == names([left])


def test_steps_of_few_files_are_those_of_their_maps(folder, tmp_path):
    (folder / "step1_211.fits").unlink()
    sets, _ = series_sets(folder, most_missing=1)
    with Index(tmp_path) as index:
        index.add(folder)
        steps = Steps(index, 12 * u.s, 1)
        steps.add_slots(0)
        assert len(steps) == 3
        for number, images in enumerate(sets):
            task = steps.task(number)
            found = [item[0] if item else None for item in task.images]
            assert found == [image.name if Path(image.name).exists() else None for image in images]
        [slots, times, dates, digests] = next(steps.places(0, 3, 4096))
        assert slots.tolist() == [0, 1, 2]
        assert (digests == 0).tolist() == [[False] * 6, [False] * 4 + [True, False], [False] * 6]
        for k in (0, 2):
            of_maps = [image.map.date for image in sets[k]]
            assert abs(from_microseconds(times[k]) - of_maps[0] - np.mean([t - of_maps[0] for t in of_maps])) < 1 * u.us
            assert all(abs(from_microseconds(dates[k])[i] - of_maps[i]) < 1 * u.us for i in range(6))


# ---- files that come late, or again


def test_late_file_makes_the_step_complete(folder, tmp_path):
    path, late = tmp_path / "a.zarr", folder / "step1_211.fits"
    content = late.read_bytes()
    late.unlink()
    report = batch_invert(folder, path, BINS, **OPTIONS)
    assert [step.reason for step in report.steps] == [None, NO_211, None]
    assert np.all(read(path)["omitted_channels"].data[1].compute() == 1 << 4)
    late.write_bytes(content)
    report = batch_invert(folder, path, BINS, **OPTIONS)
    assert [(step.outcome, step.reason) for step in report.steps] == [("kept", None), ("done", None), ("kept", None)]
    result = read(path)
    assert not result["omitted_channels"].data.compute().any()
    batch_invert(folder, tmp_path / "b.zarr", BINS, **OPTIONS)
    expected = read(tmp_path / "b.zarr")
    for key in expected:
        np.testing.assert_array_equal(result[key].data, expected[key].data)
    assert [step.outcome for step in batch_invert(folder, path, BINS, **OPTIONS).steps] == ["kept"] * 3


def test_repaired_file_makes_its_step_anew(folder, tmp_path):
    path, file = tmp_path / "a.zarr", folder / "step1_211.fits"
    batch_invert(folder, path, BINS, **OPTIONS)
    smap = Map(file)
    Map(smap.data * np.float32(1.05), smap.meta | {"history": "repaired"}).save(file, overwrite=True)
    report = batch_invert(folder, path, BINS, **OPTIONS)
    assert [step.outcome for step in report.steps] == ["kept", "done", "kept"]
    batch_invert(folder, tmp_path / "b.zarr", BINS, **OPTIONS)
    result, expected = read(path), read(tmp_path / "b.zarr")
    for key in expected:
        np.testing.assert_array_equal(result[key].data, expected[key].data)


def test_step_that_once_lacked_a_file_does_not_hide_the_complete_one(folder, tmp_path):
    path, late, options = tmp_path / "a.zarr", folder / "step1_211.fits", OPTIONS | {"outputs": ("chi_squared",)}
    batch_invert(folder, path, BINS, **options)
    expected = read(path)["chi_squared"].data.compute()
    content = late.read_bytes()
    late.unlink()
    for outcome in ("done", "kept"):
        report = batch_invert(folder, path, BINS, **options)
        assert [step.outcome for step in report.steps] == ["kept", outcome, "kept"]
        assert not read(path)["omitted_channels"].data.compute().any()
    late.write_bytes(content)
    assert [step.outcome for step in batch_invert(folder, path, BINS, **options).steps] == ["kept"] * 3
    np.testing.assert_array_equal(read(path)["chi_squared"].data, expected)
    assert batch_status(path) == (3, 3, [])


def test_repair_that_is_undone_makes_its_step_anew(folder, tmp_path):
    path, file, options = tmp_path / "a.zarr", folder / "step1_211.fits", OPTIONS | {"outputs": ("chi_squared",)}
    batch_invert(folder, path, BINS, **options)
    expected = [read(path)["chi_squared"].data.compute()]
    contents = [file.read_bytes()]
    smap = Map(file)
    Map(smap.data * np.float32(1.05), smap.meta | {"history": "repaired"}).save(file, overwrite=True)
    contents.append(file.read_bytes())
    for k in (1, 0, 1):
        file.write_bytes(contents[k])
        for outcome in ("done", "kept"):
            report = batch_invert(folder, path, BINS, **options)
            assert [step.outcome for step in report.steps] == ["kept", outcome, "kept"]
        found = read(path)["chi_squared"].data.compute()
        if len(expected) == 1:
            expected.append(found)
        np.testing.assert_array_equal(found, expected[k])
    assert not np.array_equal(*expected)
    assert batch_status(path) == (3, 3, [])


@pytest.mark.parametrize(
    ("images", "done", "counts", "without"),
    [
        (["abc", "def", "ab_"], "111", [0, 1], []),  # better, though earlier
        (["ab_", "def", "abc"], "111", [1, 2], [0]),
        (["abc", "def", "abg"], "111", [1, 2], [0]),  # as good, and later
        (["abc", "def", "abg"], "110", [0, 1], []),  # not done yet
        (["abc", "def", "ab_", "abg"], "0110", [1, 2], []),
        (["abc", "abg", "abc"], "111", [2], [0, 1]),
        (["a__", "abc", "dec"], "111", [0, 2], [0, 1]),  # what is lost for one step may still count for another
    ],
)
def test_places_that_count(images, done, counts, without, tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    codes = np.array([[ord(image) for image in each] for each in images]).T
    group.create_array("image_date", data=np.where(codes == ord("_"), 0, codes))
    group.create_array("image_digest", data=(codes != ord("_")).astype(int))
    done = [each == "1" for each in done.ljust(len(images), "0")]
    assert latest_steps(group, np.flatnonzero(done)).tolist() == counts
    assert superseded(group, len(images), lambda place: done[place]) == set(without)


def test_step_that_is_not_done_any_more_is_not_waited_for(folder, tmp_path):
    path, file = tmp_path / "a.zarr", folder / "step1_211.fits"
    file.write_bytes(file.read_bytes()[:-2000])
    batch_invert(folder, path, BINS, **OPTIONS)
    assert batch_status(path) == (3, 2, [])
    file.unlink()
    batch_invert(folder, path, BINS, **OPTIONS)
    assert batch_status(path) == (3, 3, [])


def test_file_that_is_gone_is_left_over(folder, tmp_path):
    """Since it was listed; so is a link to nothing."""
    (folder / "step1_211.fits").unlink()
    (folder / "step1_211.fits").symlink_to(folder / "nothing.fits")
    report = batch_invert(folder, tmp_path / "a.zarr", BINS, **OPTIONS)
    assert [step.reason for step in report.steps] == [None, NO_211, None]
    [(name, reason)] = report.left_over
    assert name.endswith("step1_211.fits")
    assert reason.startswith("cannot be read, FileNotFoundError: ")
    assert not report.is_complete
    smap = Map(folder / "step0_211.fits")
    smap.meta["date-obs"] = "2014-01-01T00:02:05"
    smap.save(folder / "nothing.fits")
    with Index(tmp_path / "a.zarr" / "batch") as index:
        index.add(folder)
        assert index.n_read == 2


def test_store_that_knows_no_files_is_added_to(folder, tmp_path):
    """As older versions made them: steps are told by their times."""
    path, files = tmp_path / "a.zarr", [sorted(folder.glob(f"step{k}_*")) for k in range(3)]
    options = OPTIONS | {"outputs": ("chi_squared",)}
    batch_invert([*files[1], *files[2]], path, BINS, **options)
    shutil.rmtree(path / "image_digest")
    shutil.rmtree(path / "batch")
    documents.seal(path)
    assert read(path)["chi_squared"].data.shape[0] == 2
    for outcomes in (["done", "kept", "kept"], ["kept"] * 3):
        assert [step.outcome for step in batch_invert(folder, path, BINS, **options).steps] == outcomes
    batch_invert(folder, tmp_path / "b.zarr", BINS, **options)
    np.testing.assert_array_equal(read(path)["chi_squared"].data, read(tmp_path / "b.zarr")["chi_squared"].data)
    assert np.all(zarr.open_group(path)["image_digest"][:] != 0)


# ---- the report


def test_outcomes_take_few_bytes():
    outcomes = Outcomes(3, 6)
    outcomes.set(4, 1_500_000, "failed", "why", 2.5)
    outcomes.set(5, 2_000_000, "done")
    assert outcomes[-1] == outcomes[2] == (5, from_microseconds(2_000_000), "done", None, 0.0)
    assert [each.number for each in outcomes] == [3, 4, 5]
    assert outcomes[1].time.isot == "1970-01-01T00:00:01.500"
    assert outcomes[1][2:] == ("failed", "why", 2.5)
    assert outcomes[1:] == [outcomes[1], outcomes[2]]
    with pytest.raises(IndexError):
        outcomes[3]


def test_steps_of_a_report_are_built_when_asked_for(monkeypatch):
    outcomes = Outcomes(0, 4)
    with monkeypatch.context() as patch:
        patch.setattr("sunpy_demreg._batch.report.Step", None)
        for number, outcome in enumerate(("done", "failed", "done", "kept")):
            outcomes.set(number, 0, outcome)
        result = BatchReport(outcomes, [])
        assert result.counts == {"done": 2, "kept": 1, "failed": 1}
        assert not result.is_complete
    assert result.failed == [outcomes[1]]
    assert BatchReport(list(outcomes), []).counts == result.counts


def test_images_without_a_file_are_sorted_too(series_folder, tmp_path):
    maps = [Map(path) for path in sorted(series_folder.glob("*.fits"))]
    with Index(tmp_path) as index:
        index.add(maps)
        assert not (tmp_path / "index.sqlite").exists()
        steps = Steps(index, 12 * u.s, 0)
        steps.add_slots(0)
        name, smap = steps.task(1).images[2]
    assert name == "`maps[8]`"
    assert smap.wavelength == 171 * u.AA
