"""No fault of a disk or of a name loses what was there, and none is read as if nothing had happened."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from file_faults import Faults, content, file_size, small_results, snapshot

import asdf
import astropy.units as u
from astropy.io import fits
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import TemperatureResponse, batch_invert, batch_status, invert, read, sample, write
from sunpy_demreg._cli.main import main
from sunpy_demreg._common.atomic import replaced

PREPARED = {"prepare_options": {"n_sample": 16, "bin": 16}}
pytestmark = pytest.mark.filterwarnings("ignore:.* do not fit")  # in so few bins
BINS = 10 ** np.arange(5.6, 7.41, 0.3) * u.K
posix = pytest.mark.skipif(os.name == "nt", reason="limits, links and permissions are those of POSIX")


@pytest.fixture(scope="module")
def results(small, response):
    """Of a few pixels, with arrays of NumPy and of Dask."""
    return small_results(small[:, :4, :5], response, BINS)


@pytest.fixture
def result(results):
    return results[0]


@posix
def test_random_faults(results, tmp_path):
    """What `validation/file_faults.py` does in hundreds."""
    faults = Faults(tmp_path, *results, np.random.default_rng(1))
    outcomes = [faults.one() for _ in range(40)]
    assert {kind for kind, _, _ in outcomes} >= {"flipped_bit", "cut_file", "full_disk", "foreign_folder"}
    assert sum("refused" in outcome for _, _, outcome in outcomes) > 25


# ---- what is replaced


def test_only_our_stores_are_replaced(result, tmp_path):
    path = tmp_path / "thesis.zarr"
    path.mkdir()
    (path / "chapter.tex").write_text("precious")
    with pytest.raises(
        FileExistsError, match=r"`path` .*thesis.zarr' is not replaced: it is a folder, but not a store that"
    ):
        write(result, path, overwrite=True)
    assert [p.name for p in path.iterdir()] == ["chapter.tex"]
    zarr.create_group(tmp_path / "other.zarr", attributes={"format": "mine"})
    with pytest.raises(FileExistsError, match="not a store that sunpy_demreg wrote"):
        write(result, tmp_path / "other.zarr", overwrite=True)
    write(result, tmp_path / "ours.zarr")
    (tmp_path / "ours.zarr" / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"it holds notes\.txt, which sunpy_demreg did not write"):
        write(result, tmp_path / "ours.zarr", overwrite=True)
    (tmp_path / "ours.zarr" / "notes.txt").unlink()
    write(result, tmp_path / "ours.zarr", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.zarr", "ours.zarr", "thesis.zarr"]


@pytest.mark.parametrize(
    "name",
    [
        "my.partial",
        "a/empty",
        "c/0",
        "dem/notes.txt",
        "dem/my.partial",
        "dem/c/thesis/notes.txt",
        "dem/c/0/notes.txt",
        "dem/zarr.json.bak",
        "dem/c/0/0/0.partial",
    ],
)
def test_what_lies_inside_of_our_stores_is_kept(result, tmp_path, name):
    path = tmp_path / "ours.zarr"
    write(result, path)
    # What Zarr and this package leave where they are killed is nobody's.
    for left in (f"dem/c/0/0/0.{'0f' * 16}.partial", f"zarr.{'0f' * 16}.partial", f"dem/.{'0f' * 6}.part.json"):
        (path / left).touch()
    write(result, path, overwrite=True)
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text("precious")
    with pytest.raises(FileExistsError, match=rf"it holds .*{re.escape(name)}.*, which sunpy_demreg did not write"):
        write(result, path, overwrite=True)
    assert (path / name).read_text() == "precious"


def test_no_folder_takes_the_place_of_a_file(result, tmp_path):
    path = tmp_path / "a.zarr"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError, match=r"`path` .*a.zarr' is a file, not a folder"):
        write(result, path, overwrite=True)
    with pytest.raises(FileExistsError):
        write(result, path)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@posix
def test_nothing_but_files_is_replaced_by_files(result, tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    with pytest.raises(FileExistsError, match="not a regular file"):
        write(result, tmp_path / "pipe.fits", overwrite=True)
    (tmp_path / "folder.ecsv").mkdir()
    curve = TemperatureResponse.from_arrays(["a"], [1, 2] * u.MK, [[1, 2]] * u.Unit("DN cm5 / (pix s)"))
    with pytest.raises(IsADirectoryError, match=r"`path` .* is a folder: name a file in it"):
        curve.write(tmp_path / "folder.ecsv", overwrite=True)
    assert (tmp_path / "pipe.fits").is_fifo()


@posix
@pytest.mark.parametrize("ending", [".fits", ".zarr"])
def test_links_stay_and_their_targets_are_replaced(result, tmp_path, ending):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / f"real{ending}", tmp_path / f"link{ending}"
    link.symlink_to(target)
    for overwrite in (False, True):
        write(result, link, overwrite=overwrite)
        assert link.is_symlink()
        assert content(read(target)) == content(read(link))
        assert [p.name for p in (tmp_path / "disk").iterdir()] == [target.name]


def test_what_a_killed_program_left_is_in_nobodys_way(result, tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda n: "00")
    (tmp_path / ".00.part.fits").touch()
    with pytest.raises(FileExistsError):  # even if chance has it
        write(result, tmp_path / "a.fits")
    monkeypatch.undo()
    write(result, tmp_path / "a.fits")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".00.part.fits", "a.fits"]


@pytest.mark.parametrize("step", range(3))
def test_old_store_is_back_if_it_cannot_be_replaced(result, tmp_path, monkeypatch, step):
    path, rename = tmp_path / "a.zarr", os.rename
    write(result, path)
    before, calls = snapshot(path), []

    def fail(source, target):
        calls.append(source)
        if len(calls) == step + 1:
            raise PermissionError(errno.EACCES, "denied", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    if step < 2:
        with pytest.raises(PermissionError):
            write(result, path, overwrite=True)
        assert snapshot(path) == before
    else:
        write(result, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_store_that_becomes_another_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    (path / "precious").touch()
    answers = iter([None, "it is not ours by now"])
    with (
        pytest.raises(FileExistsError, match="not ours by now"),
        replaced(path, overwrite=True, foreign=lambda folder: next(answers)) as part,
    ):
        (part / "new").touch()
    assert [p.name for p in path.iterdir()] == ["precious"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be_removed_is_named(result, tmp_path, monkeypatch):
    path, rmtree = tmp_path / "a.zarr", shutil.rmtree
    write(result, path)

    def fail(folder, ignore_errors=False):
        if ".old" in str(folder):
            raise PermissionError(errno.EACCES, "denied", str(folder))
        rmtree(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.warns(
        SunpyUserWarning, match=r"is replaced, but its old content cannot be removed .* remove .*\.old\.zarr'"
    ):
        write(result, path, overwrite=True)
    assert content(read(path)) == content(result) | {"meta": content(read(path))["meta"]}


@posix
def test_damaged_response_is_refused(response, tmp_path):
    path = tmp_path / "r.ecsv"
    response.write(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for place, bit in zip(rng.integers(len(data), size=100), rng.integers(8, size=100), strict=True):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        try:
            back = TemperatureResponse.read(path)
        except ValueError:
            n_refused += 1
        else:  # the name of the checksum was hit
            assert back == response
            assert back.meta == response.meta
    assert n_refused >= 99


def test_edited_response_says_what_to_do(response, tmp_path):
    path = tmp_path / "r.ecsv"
    response.write(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as of a program that changes how lines end
    assert TemperatureResponse.read(path) == response
    edited = re.sub(r"(?m)^1000000\.0 \S+", "1000000.0 1e-27", path.read_text())
    path.write_text(edited)
    with pytest.raises(ValueError, match=r"`path`.* checksum of .* does not match: .* edited it, delete its line"):
        TemperatureResponse.read(path)
    # As are the files of earlier versions, too.
    path.write_text("\n".join(line for line in edited.splitlines() if "sha256" not in line))
    back = TemperatureResponse.read(path)
    assert back.at(1 * u.MK)[0].value == pytest.approx(1e-27)
    assert back.meta == response.meta


def test_response_that_cannot_be_written_keeps_the_old_one(response, tmp_path):
    path = tmp_path / "a.ecsv"
    response.write(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="nothing was written") as caught, file_size(5000):
        response.write(path, overwrite=True)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ecsv"]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        response.write(path)
    with pytest.raises(FileNotFoundError, match=r"`path` names the folder .*absent', which does not exist"):
        response.write(tmp_path / "absent" / "a.ecsv")


# ---- folders that are not there, or that this user may not write to


@pytest.fixture
def read_only(tmp_path):
    """A folder with the store of a batch in which nothing can be written: not even by root, so it is mounted."""
    folder = tmp_path / "archive"
    folder.mkdir()
    batch_invert(sample.aia_files(), folder / "old.zarr", BINS, **PREPARED)
    if os.geteuid():
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o500)
        yield folder
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700)
        return
    try:
        for options in (["--bind", folder], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *options, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@posix
def test_folder_that_is_read_only(result, response, read_only, capsys):
    files = list(map(str, sample.aia_files()))
    told = r"^`path` '.*%s' cannot be written \(.*\): choose a folder that you may write to$"
    for name in ("a.fits", "a.fits.gz", "a.asdf", "a.zarr"):
        with pytest.raises(PermissionError, match=told % name):
            write(result, read_only / name)
        with pytest.raises(PermissionError, match=told % name):
            write(result["chi_squared"], read_only / name)
    with pytest.raises(PermissionError, match=told % "a.ecsv"):
        response.write(read_only / "a.ecsv")
    for name in ("new.zarr", "new/new.zarr", "old.zarr"):
        with pytest.raises(PermissionError, match=told % name):
            batch_invert(files, read_only / name, BINS, **PREPARED)
    assert batch_status(read_only / "old.zarr").n_done == read(read_only / "old.zarr")["status"].shape[0] == 1
    place = str(read_only / "new")
    for command, option in (
        (["demo", "--output", place], "output"),
        (["invert", *files, "--output", f"{place}.fits"], "output"),
        (["invert", *files, "--output", f"{read_only.parent}/a.fits", "--plot", f"{place}.png"], "plot"),
        (["batch", *files, "--output", f"{place}.zarr"], "output"),
        (["batch", *files, "--output", f"{place}.zarr", "--slurm", "--array=1-2"], "output"),
    ):
        assert main(command) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"sunpy-demreg: error: `--{option}` '{place}")
        assert last.endswith("): choose a folder that you may write to")
    assert [path.name for path in read_only.iterdir()] == ["old.zarr"]


def test_only_batches_make_the_folder_of_their_store(result, response, tmp_path):
    """A name with a misprint in its folder is an error, as of NumPy and astropy."""
    told = r"^`path` names the folder '.*new', which does not exist: create it first$"
    for name in ("a.fits", "a.fits.gz", "a.asdf", "a.zarr"):
        with pytest.raises(FileNotFoundError, match=told):
            write(result, tmp_path / "new" / name)
    with pytest.raises(FileNotFoundError, match=told):
        response.write(tmp_path / "new" / "a.ecsv")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"^`path` '.*' cannot be written: '.*file' is a file, not a folder"):
        write(result, tmp_path / "file" / "new" / "a.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    batch_invert(sample.aia_files(), tmp_path / "new" / "archive" / "a.zarr", BINS, **PREPARED)
    assert read(tmp_path / "new" / "archive" / "a.zarr")["status"].shape[0] == 1


# ---- full disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["eager", "lazy"])
@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".asdf", ".zarr"])
def test_really_full_disk(small, response, small_disk, ending, kind):
    edges = 10 ** np.arange(5.6, 7.41, 0.05) * u.K
    result = small_results(small, response, edges)[kind == "lazy"]
    part = result[:2, :3]
    path = small_disk / f"a{ending}"
    (small_disk / "filler").write_bytes(bytes(80_000))
    with pytest.raises(OSError, match=f"a{ending}"):
        write(result, path)
    assert [p.name for p in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").unlink()
    if ending == ".fits.gz":  # what has room is written
        write(part, path)
        np.testing.assert_array_equal(read(path)["dem"].data, part["dem"].data)


def test_lazy_images_are_given_room_before_anything_is_computed(results, tmp_path, monkeypatch):
    computed = []

    def full(file, start, n_bytes):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr("dask.compute", lambda *args, **options: computed.append(1))
    with pytest.raises(OSError, match=r"No space left on device: nothing was written.*a\.fits") as caught:
        write(results[1], tmp_path / "a.fits")
    assert caught.value.errno == errno.ENOSPC
    assert not computed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lack", ["no such function", "not on this file system"])
def test_files_grow_where_room_cannot_be_reserved(results, tmp_path, monkeypatch, lack):
    def unable(file, start, n_bytes):
        raise OSError(errno.EOPNOTSUPP, "unable")

    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    if lack == "no such function":
        monkeypatch.delattr(os, "posix_fallocate")
    write(results[1], tmp_path / "a.fits")
    np.testing.assert_array_equal(read(tmp_path / "a.fits")["dem"].data, results[0]["dem"].data)


# ---- what is verified


def test_every_header_of_a_fits_file_has_a_checksum(results, tmp_path):
    for number, result in enumerate(results):
        path = tmp_path / f"{number}.fits"
        write(result, path)
        with fits.open(path) as hdus:
            assert {(hdu.verify_checksum(), hdu.verify_datasum()) for hdu in hdus} == {(1, 1)}
        data = path.read_bytes()
        # A checksum that is not recognized any more is one that is missing.
        for place in (data.index(b"CHECKSUM"), data.rindex(b"CHECKSUM")):
            (tmp_path / "bad.fits").write_bytes(data[:place] + b"CHECKSAM" + data[place + 8 :])
            with pytest.raises(ValueError, match="has no checksum"):
                read(tmp_path / "bad.fits")


def test_mask_that_is_cut_off_is_missed(results, tmp_path):
    result = results[1].copy()
    result["dem"].mask = result["dem"].data < 0
    path = tmp_path / "a.fits"
    write(result, path)
    with fits.open(path) as hdus:
        assert hdus[-1].name.endswith("MASK")
        place = hdus.fileinfo(-1)["hdrLoc"]
    path.write_bytes(path.read_bytes()[:place])
    with pytest.raises(ValueError, match="MASK"):
        read(path)


def test_text_of_an_asdf_file_is_verified(result, tmp_path):
    path = tmp_path / "a.asdf"
    write(result, path)
    data = path.read_bytes()
    n_refused = 0
    for place in np.random.default_rng(0).integers(data.index(b"asdf_library"), data.index(b"\xd3BLK"), 20):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match=r"`path` .* is damaged"):
            read(path)
        n_refused += 1
    assert n_refused == 20
    # The checksum does not keep others from opening it.
    path.write_bytes(data)
    with asdf.open(path) as file:
        assert file["result"]["dem"].data.shape == result["dem"].data.shape


@pytest.mark.parametrize("ending", [".zarr", ".asdf", ".fits"])
def test_number_of_the_format_does_not_switch_checksums_off(result, tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write(result, path)
    file = path / "zarr.json" if ending == ".zarr" else path
    data = file.read_bytes()
    assert len(re.findall(rb"sunpy_demreg (zarr )?2", data)) == 1
    file.write_bytes(re.sub(rb"(sunpy_demreg (zarr )?)2", rb"\g<1>1", data))
    with pytest.raises(ValueError, match=r"`path` .* is damaged .*checksum"):
        read(path)


def test_lost_chunk_is_missed(results, tmp_path):
    path = tmp_path / "a.zarr"
    write(results[1], path)
    (path / "dem" / "c" / "0" / "0" / "0").unlink()
    lazy = read(path)
    with pytest.raises(ValueError, match=r"`path` .*a\.zarr' is damaged: dem cannot be read .*'c/0/0/0'"):
        lazy["dem"].data.compute()
    np.testing.assert_array_equal(lazy["status"].data, results[0]["status"].data)
    (path / "temperature_edge" / "c" / "0").unlink()
    with pytest.raises(ValueError, match=r"`path` .* is damaged"):
        read(path)


def test_chunks_of_nothing_but_the_fill_value_are_there(small, response, tmp_path):
    data = small.data[:, :2, :3].copy()
    data[:, 0] = np.nan
    cube = small[:, :2, :3]
    with pytest.warns(SunpyUserWarning, match="3 of 6"):
        result = invert(data * small.unit, response, BINS, uncertainty=cube.uncertainty.array * small.unit)
    write(result, tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")["dem"].data, result["dem"].data)


@pytest.mark.parametrize("ending", [".fits", ".asdf", ".zarr"])
def test_all_formats_give_the_same_warning(result, tmp_path, ending):
    odd = result.copy()
    odd.meta = result.meta | {"odd": np.array([1j])}
    with pytest.warns(SunpyUserWarning, match=r"only be written as text: meta\['odd'\]") as record:
        write(odd, tmp_path / f"a{ending}")
    assert len(record) == 1
    assert record[0].filename == __file__


@pytest.mark.parametrize("outputs", [("chi_squared",), ("temperature_resolution", "intensity")])
@pytest.mark.parametrize("ending", [".fits", ".asdf", ".zarr"])
def test_results_without_a_dem(small, response, tmp_path, outputs, ending):
    result = invert(small, response, BINS, outputs=outputs)
    write(result, tmp_path / f"a{ending}")
    back = read(tmp_path / f"a{ending}")
    assert set(back) == set(result) == {*outputs, "omitted_channels", "status"}
    for key, cube in result.items():
        np.testing.assert_array_equal(back[key].data, cube.data)


def test_names_without_a_folder(tmp_path):
    code = "from pathlib import Path; from sunpy_demreg._common.atomic import replaced\n"
    code += "with replaced('a.txt') as part: part.write_text('new')\nprint(Path('a.txt').read_text())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "new\n"
    assert [Path(p).name for p in os.listdir(tmp_path)] == ["a.txt"]
