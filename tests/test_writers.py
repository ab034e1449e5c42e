"""Many processes that write one store: claims, parts, kills; and the command that starts them on SLURM."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr

import astropy.units as u

from sunpy_demreg import batch_invert, batch_status, read
from sunpy_demreg._batch import create
from sunpy_demreg._batch.claims import Claims
from sunpy_demreg._batch.run import part_of
from sunpy_demreg._batch.store import Archive
from sunpy_demreg._cli.main import main
from sunpy_demreg._common.dates import to_microseconds
from sunpy_demreg._files import zarr_documents as documents

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)")
BINS = 10 ** np.linspace(5.6, 7.4, 10) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16}, "dtype": "float32", "outputs": ("dem",)}
COMMAND = [sys.executable, "-m", "sunpy_demreg", "batch"]
CHOICES = ["--n-sample", "16", "--log-t", "5.6", "7.4", "0.2"]


def files_of(path):
    """Of a store, with their contents, but for what the processes need to know."""
    files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not name.startswith("batch/")}


@pytest.fixture(scope="module")
def store(series_folder, tmp_path_factory):
    """What one process makes."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    assert main(["batch", str(series_folder), "--output", str(path), *CHOICES]) == 0
    return path


def started(series_folder, path, *more):
    command = [*COMMAND, str(series_folder), "--output", str(path), *CHOICES, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---- the folder of a store


def test_folder_is_removed_only_where_nobody_is(tmp_path):
    path = tmp_path / "a.zarr"

    def fails():
        for each in (path / "batch" / "claims").iterdir():
            os.utime(each, (0, 0))  # the clock of the file system may be any
        raise ValueError("no store comes of it")

    with create.begun(path) as (folder, others):
        with pytest.raises(ValueError, match="comes of it"), create.begun(path):
            fails()
        assert others.take("store") == (True, False)
    code = "import sys; from pathlib import Path; from sunpy_demreg._batch.create import begun\n"
    code += "import os\nwith begun(Path(sys.argv[1])): os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert any((folder / "claims").iterdir())
    with pytest.raises(ValueError, match="comes of it"), create.begun(path):
        fails()
    assert not any(tmp_path.iterdir())


def test_folder_that_is_removed_at_this_moment_is_made_again(tmp_path, monkeypatch):
    path, begin, calls = tmp_path / "a.zarr", create._begin, []

    def then_removed(path):
        folder = begin(path)
        if not calls:
            create._forget(path)
        calls.append(path)
        return folder

    monkeypatch.setattr(create, "_begin", then_removed)
    with create.begun(path) as (folder, mine):
        assert mine.take("store") == (True, False)
        assert len(calls) == 2
        assert folder.is_dir()


# ---- parts


@pytest.mark.parametrize("n_steps", [1, 3, 16, 1000])
def test_parts_are_all_steps(n_steps):
    parts = [part_of(n_steps, (k, 7)) for k in range(1, 8)]
    assert [step for part in parts for step in part] == list(range(n_steps))


def test_parts_in_any_order_make_the_same_store(series_folder, store, tmp_path, capsys):
    path, command = tmp_path / "a.zarr", ["batch", str(series_folder), *CHOICES, "--output", str(tmp_path / "a.zarr")]
    for part, n in (("3/3", 1), ("1/2", 1), ("2/2", 2)):
        assert main([*command, "--part", part]) == 0
        out = capsys.readouterr().out
        assert f"{part[0]} of {part[2]}" in out
        assert f"of {n} time steps" in out
        assert main(["batch", "--output", str(path), "--status"]) == 0
        assert "of 3 time steps" in capsys.readouterr().out
    assert files_of(path) == files_of(store)
    assert batch_status(path) == (3, 3, [])
    assert batch_status(path).is_complete


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ((0, 2), r"`part` must be two whole numbers, such as \(3, 16\) .* but is \(0, 2\)"),
        ((3, 2), r"from \(1, n\) to \(n, n\), but is \(3, 2\)"),
        ((1, True), r"`part` must be two whole numbers"),
        ("3/16", r"`part` must be two whole numbers"),
    ],
)
def test_bad_parts(series_folder, tmp_path, part, words):
    with pytest.raises((ValueError, TypeError), match=words):
        batch_invert(series_folder, tmp_path / "a.zarr", BINS, part=part)
    assert not any(tmp_path.iterdir())


# ---- several processes


def test_two_starts_at_once_do_each_step_once(series_folder, store, tmp_path):
    path = tmp_path / "a.zarr"
    processes = [started(series_folder, path) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    done = [line.split()[1] for _, err in outputs for line in err.splitlines() if " done, " in line]
    assert len(done) == len(set(done)) == 3, outputs
    assert files_of(path) == files_of(store)
    assert not any((path / "batch" / "claims").iterdir())


def test_killed_process_leaves_nothing_undone(series_folder, store, tmp_path):
    path = tmp_path / "a.zarr"
    process = started(series_folder, path)
    for line in process.stderr:
        if " done, " in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    claimed = list((path / "batch" / "claims").glob("step-*"))
    assert claimed
    # As where it was killed while it wrote.
    slot = int(claimed[0].stem.partition("-")[2])
    for name in (f"dem/c/0/{slot}/0/0.{32 * 'a'}.partial", f"exposure_time/c/0/{slot}.{32 * 'b'}.partial"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"half")
    status = batch_status(path)
    assert (status.n_steps, status.in_progress) == (3, [])
    assert 1 <= status.n_done < 3
    report = batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    assert {step.outcome for step in report.steps} == {"done", "kept"}
    assert files_of(path) == files_of(store)
    assert not any((path / "batch" / "claims").iterdir())


def test_terminated_process_gives_its_claims_back(series_folder, tmp_path):
    path = tmp_path / "a.zarr"
    process = started(series_folder, path)
    for line in process.stderr:
        if " done, " in line:
            process.terminate()
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not any((path / "batch" / "claims").iterdir())


def test_process_that_takes_another_one_for_dead_says_so(series_folder, store, tmp_path, monkeypatch):
    path, mark_done = tmp_path / "a.zarr", []

    def robbed(self, name):
        mark_done.append(name)
        return not name.startswith("step-1")

    monkeypatch.setattr(Claims, "is_mine", robbed)
    report = batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    assert [step.outcome for step in report.steps] == ["done"] * 3
    reasons = [step.reason for step in report.steps]
    assert reasons[0] is reasons[2] is None
    assert "also done by another process" in reasons[1]
    assert files_of(path) == files_of(store)


def test_process_that_is_too_late_to_add_steps_stops(series_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Claims, "is_mine", lambda self, name: False)
    with pytest.raises(RuntimeError, match="another one does its work now"):
        batch_invert(series_folder, tmp_path / "a.zarr", BINS, **OPTIONS)


@pytest.mark.parametrize("begins_at", [0, 7, 16, 17])
def test_process_that_woke_up_too_late_changes_no_step_that_is_done(
    series_folder, store, tmp_path, monkeypatch, begins_at
):
    """While it adds steps, another one takes its claim, adds and does them all: at any check of this one."""
    path, calls, is_mine = tmp_path / "a.zarr", [], Claims.is_mine
    batch_invert(sorted(series_folder.glob("step0*")), path, BINS, prepare_options={"n_sample": 16}, dtype="float32")

    def robbed(self, name):
        if name != "store" or len(calls) > begins_at:
            return is_mine(self, name) and name != "store"
        calls.append(name)
        if len(calls) > begins_at:
            shutil.copytree(store, path, dirs_exist_ok=True)
            return False
        return True

    monkeypatch.setattr(Claims, "is_mine", robbed)
    with pytest.raises(RuntimeError, match="another one does its work now"):
        batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    assert files_of(path) == files_of(store)


def test_process_that_woke_up_too_late_makes_no_store(series_folder, store, tmp_path, monkeypatch):
    path, seal = tmp_path / "a.zarr", documents.seal

    def then_late(part):
        seal(part)
        shutil.copytree(store, path, dirs_exist_ok=True)
        monkeypatch.setattr(Claims, "is_mine", lambda self, name: False)

    monkeypatch.setattr(documents, "seal", then_late)
    with pytest.raises(RuntimeError, match="another one does its work now"):
        batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    found = {name: content for name, content in files_of(path).items() if ".part" not in name}  # which the next removes
    assert found == files_of(store)


def test_late_process_does_not_say_that_a_done_step_is_not_done(store, tmp_path):
    path = shutil.copytree(store, tmp_path / "a.zarr")
    archive = Archive(path, {"channels": zarr.open_group(path).attrs["settings"]["channels"]}, {})
    folder = path / "step_done" / "c"
    (folder / "2").write_bytes(b"")  # of a process that died here
    archive._add_not_done(0, 4)
    content = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert content["0"] == content["1"] == (store / "step_done" / "c" / "0").read_bytes()
    assert content["2"] == content["3"] != content["0"]
    assert len(content["3"]) == len(content["0"])


def test_store_whose_making_was_interrupted_is_made(series_folder, store, tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:

        def killed(path):
            raise KeyboardInterrupt

        patch.setattr(documents, "seal", killed)
        with pytest.raises(KeyboardInterrupt):
            batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    assert (path / "batch" / "index.sqlite").exists()
    assert batch_status(path) == (0, 0, [])
    with pytest.raises(ValueError, match="`path`"):
        read(path)
    batch_invert(series_folder, path, BINS, prepare_options={"n_sample": 16}, dtype="float32")
    assert files_of(path) == files_of(store)


def test_nothing_is_left_where_no_store_came_of_it(series_folder, tmp_path):
    with pytest.raises(ValueError, match="`maps` hold no image of each channel"):
        batch_invert(
            [*series_folder.glob("*_171.fits"), series_folder / "step0_094.fits"],
            tmp_path / "a.zarr",
            BINS,
            tolerance=0 * u.s,
        )
    assert not any(tmp_path.iterdir())


def test_store_is_read_while_it_is_written(series_folder, store, tmp_path):
    path, expected, seen = tmp_path / "a.zarr", read(store)["dem"].data.compute(), []

    def look(n_steps, step):
        result = read(path)["dem"]
        times = result.axis_world_coords("time")[0]
        number = np.searchsorted(zarr.open_group(store)["time"][:], to_microseconds(times))
        np.testing.assert_array_equal(result.data.compute(), expected[:, number])
        seen.append(len(times))

    batch_invert(series_folder, path, BINS, on_step=look, **OPTIONS)
    assert seen == [1, 2, 3]


def test_store_is_read_at_every_moment_while_steps_are_added(series_folder, store, tmp_path, monkeypatch):
    """Also where the tables of the new steps are in chunks of their own."""
    path, expected, seen = tmp_path / "a.zarr", read(store)["dem"].data.compute(), []
    monkeypatch.setattr("sunpy_demreg._batch.create.N_STEPS", 1)
    batch_invert(sorted(series_folder.glob("step1_*")), path, BINS, **OPTIONS)
    set_length = documents.set_length

    def look(*arguments):
        np.testing.assert_array_equal(read(path)["dem"].data.compute(), expected[:, 1:2])
        seen.append((batch_status(path).n_steps, batch_status(path).n_done))
        set_length(*arguments)

    monkeypatch.setattr(documents, "set_length", look)
    batch_invert(series_folder, path, BINS, **OPTIONS)
    assert set(seen) == {(1, 1)}
    assert len(seen) > 6
    np.testing.assert_array_equal(read(path)["dem"].data.compute(), expected)


# ---- status


def test_status_names_who_works(series_folder, store, tmp_path, capsys):
    path, seen = tmp_path / "a.zarr", []

    def look(n_steps, step):
        seen.append(batch_status(path))
        assert main(["batch", "--output", str(path), "--status"]) == 0

    batch_invert(series_folder, path, BINS, on_step=look, **OPTIONS)
    assert [status.n_done for status in seen] == [1, 2, 3]
    assert [status.n_steps for status in seen] == [3, 3, 3]
    assert seen[0].in_progress[0].host
    assert seen[0].in_progress[0].seconds < 60
    assert "2 of 3 time steps" in (out := capsys.readouterr().out)
    assert re.search(r"seen \d+ s ago", out)
    assert main(["batch", "--output", str(tmp_path / "no.zarr"), "--status"]) == 1
    assert "`--output`: there is no store" in capsys.readouterr().err
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "s1.fits").write_bytes(b"an image")
    for name, what in (("other.zarr", r"\("), ("s1.fits", r"\(it is a file, and a store is a folder\)")):
        with pytest.raises(
            ValueError, match=rf"`path` .*{name}' .* is not the store of a batch {what}.*: pass the .zarr"
        ):
            batch_status(tmp_path / name)


# ---- SLURM


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A command of that name that says what it got."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "sbatch"
    script.write_text('#!/bin/sh\necho "Submitted batch job 7: $@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return script


def test_array_is_written_and_submitted(series_folder, store, tmp_path, sbatch, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["batch", str(series_folder), "--output", "a b.zarr", *CHOICES]
    assert main([*command, "--slurm", "--partition=main --array=4-8:2 -A 'my account'"]) == 0
    assert "Submitted batch job 7: a b.slurm" in capsys.readouterr().out
    script = tmp_path / "a b.slurm"
    lines = script.read_text().splitlines()
    assert [line for line in lines if line.startswith("#SBATCH")][3:] == [
        "#SBATCH --partition=main",
        "#SBATCH --array=4-8:2",
        "#SBATCH -A 'my account'",
    ]
    assert shlex.split(lines[-1]) == ["exec", *COMMAND, *command[1:]]
    # What a task of it does.
    for key, value in {"MIN": 4, "MAX": 8, "STEP": 2, "COUNT": 3, "ID": 6}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{key}", str(value))
    done = subprocess.run(["bash", script], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "2 of 3" in done.stdout
    assert "1 of 1 time steps" in done.stdout
    for task in ("8", "4"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        assert main(command) == 0
    assert files_of(tmp_path / "a b.zarr") == files_of(store)
    for given in (["--slurm", "--array=1-2"], ["--slu", "--array=1-2"], ["--slurm=--array=1-2"]):  # as one word
        assert main([*command[:2], *given, *command[2:]]) == 0
        lines = script.read_text().splitlines()
        assert "#SBATCH --array=1-2" in lines
        assert shlex.split(lines[-1]) == ["exec", *COMMAND, *command[1:]]
    capsys.readouterr()
    script.write_text("mine")
    assert main([*command, "--slurm=--array=1-2"]) == 1
    assert "sunpy-demreg did not write it" in capsys.readouterr().err
    assert script.read_text() == "mine"


def test_bad_arrays(series_folder, tmp_path, sbatch, capsys, monkeypatch):
    command = ["batch", str(series_folder), "--output", str(tmp_path / "a.zarr"), *CHOICES]
    with pytest.raises(SystemExit):
        main([*command, "--slurm"])
    assert "argument --slurm: expected one argument" in capsys.readouterr().err
    for given in ("--partition=main", "array=1-3", "--array='1-3"):
        assert main([*command, f"--slurm={given}"]) == 1
        assert "`--slurm` must be options of sbatch" in capsys.readouterr().err
    sbatch.write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    assert main([*command, "--slurm=--array=1-3"]) == 1
    assert "sbatch refused" in (err := capsys.readouterr().err)
    assert "invalid partition" in err
    sbatch.unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert main([*command, "--slurm=--array=1-3"]) == 1
    assert "sbatch cannot be run" in capsys.readouterr().err
    for name, value in {"ID": 2, "MIN": 1, "MAX": 9, "COUNT": 4, "STEP": 1}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert main(command) == 1
    assert "pass `--part`" in capsys.readouterr().err
    for bad in (["--part", part] for part in ("3", "a/b", "0/3", "4/3")):
        with pytest.raises(SystemExit):
            main([*command, *bad])
        assert "argument --part: must be K/N with K from 1 to N" in capsys.readouterr().err
    for bad in (["--part", "3/16", "--slurm=--array=1-16"],):
        with pytest.raises(SystemExit):
            main([*command, *bad])
    with pytest.raises(SystemExit):
        main(["batch", "--output", str(tmp_path / "a.zarr")])
    assert not (tmp_path / "a.zarr").exists()
