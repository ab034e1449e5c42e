"""Claims of processes, on a disk, in memory and in S3: the same tests, where nothing else is said."""

import json
import os
import subprocess
import sys
import time

import pytest

from sunpy_demreg._batch import claims
from sunpy_demreg._batch.claims import Claims, claims_in
from sunpy_demreg._common.atomic import created
from sunpy_demreg._common.urls import Url, file_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the server of S3
]
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 0.0}  # whether it lives cannot be known here


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request, tmp_path):
    """Where claims are made."""
    if request.param == "disk":
        return tmp_path
    if request.param == "memory":
        request.getfixturevalue("memory")
        return Url("memory://out/claims")
    return Url(f"{request.getfixturevalue('bucket')}/out/claims")


on_disk = pytest.mark.parametrize("folder", ["disk"], indirect=True)
on_disk_and_s3 = pytest.mark.parametrize("folder", ["disk", "s3"], indirect=True)
at_url = pytest.mark.parametrize("folder", ["memory", "s3"], indirect=True)


def names_in(folder):
    return sorted(each.name for each in (folder.children() if isinstance(folder, Url) else folder.iterdir()))


def seen(folder, token, seconds_ago=0.0):
    """Say that a process elsewhere was here so long ago: at a URL by what it writes, else by when it wrote."""
    file, when = folder / f"here-{token}.0", time.time() - seconds_ago
    touched = {"touched": int(1e9 * when)} if isinstance(folder, Url) else {}
    file.write_bytes(json.dumps(ELSEWHERE | {"token": token} | touched).encode())
    if not touched:
        os.utime(file, (when, when))


@pytest.fixture
def lease(monkeypatch):
    """Set how long a claim lasts without a touch, and how often it is touched."""

    def set_to(seconds, beat):
        for name in ("_LEASE", "_LEASE_AT_URL"):
            monkeypatch.setattr(claims, name, seconds)
        monkeypatch.setattr(claims, "_BEAT", beat)

    return set_to


def test_only_one_holds_a_claim(folder):
    with Claims(folder) as one, Claims(folder) as other:
        for each in (one, other):
            each.stay()
        assert one.take("a") == (True, False)
        assert other.take("a") == (False, False)
        assert other.take("b") == (True, False)
        assert one.is_mine("a")
        assert not other.is_mine("a")
        other.release("a")  # not its own
        assert one.is_mine("a")
        assert {name for name in claims_in(folder) if not name.startswith("here")} == {"a", "b"}
        one.release("a")
        assert other.take("a") == (True, False)
    assert names_in(folder) == []


@on_disk_and_s3
def test_claim_of_a_process_that_has_ended_is_taken_over_at_once(folder):
    code = "import os, sys\nfrom pathlib import Path\nfrom sunpy_demreg._batch.claims import Claims\n"
    code += "from sunpy_demreg._common.urls import file_of\n"
    code += "claims = Claims(file_of(sys.argv[1])); claims.stay(); claims.take('a'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    assert [name.partition("-")[0] for name in names_in(folder)] == ["a.0", "here"]
    assert claims_in(folder) == {}
    with Claims(folder) as one:
        assert one.take("a") == (True, True)
        assert names_in(folder)[0] == "a.1"  # and no a.0
        one.stay()
        assert len(names_in(folder)) == 2  # that of the dead one is gone


def test_claim_of_a_process_that_is_not_seen_is_taken_over_after_a_while(folder, lease):
    lease(0.8, 0.1)
    with Claims(folder) as alive, Claims(folder) as one, Claims(folder) as other:
        alive.stay()
        assert alive.take("b")[0]
        about = ELSEWHERE | {"token": "x"}
        touched = {"touched": time.time_ns()} if isinstance(folder, Url) else {}
        (folder / "a.0").write_bytes(json.dumps(about | touched).encode())
        seen(folder, "x")
        assert one.take("a") == other.take("a") == (False, False)
        time.sleep(0.5)
        # On a disk each claim is touched by itself, at a URL only that to be here.
        seen(folder, "x") if touched else os.utime(folder / "a.0")
        time.sleep(0.5)
        assert one.take("a") == (False, False)  # seen in between
        time.sleep(1)
        one.stay()
        assert one.take("a") == (True, True)
        assert other.take("a") == one.take("b") == (False, False)
        time.sleep(1)
        assert other.take("a") == other.take("b") == (False, False)  # these are seen


def test_process_that_slept_knows_that_it_lost_its_claim(folder, lease):
    lease(0.1, 1000)
    with Claims(folder) as asleep, Claims(folder) as one:
        asleep.stay()
        asleep.take("a")
        assert not one.take("a")[0]
        time.sleep(0.2)
        assert one.take("a") == (True, True)
        assert not asleep.is_mine("a")
        asleep._touch()  # it wakes up: its claim does not come back
        assert "a.0" not in names_in(folder)
        asleep.release("a")
        assert one.is_mine("a")


def test_claims_made_at_the_same_moment(folder, monkeypatch):
    """Another one is there by the time the own one is made: this one steps back."""
    with Claims(folder) as one, Claims(folder) as other:
        other.stay()
        look, calls = one._all, []

        def later(name):
            calls.append(name)
            found = look(name)
            if len(calls) == 1:
                (folder / "a.7").write_bytes(other._content())
            return found

        monkeypatch.setattr(one, "_all", later)
        assert one.take("a") == (False, False)
        assert names_in(folder)[0] == "a.7"  # and no a.0


def test_who_was_here_long_ago_is_forgotten(folder):
    for token, hours in (("old", 49), ("new", 1)):
        seen(folder, token, 3600 * hours)
    with Claims(folder) as one:
        one.stay()
        assert len(names_in(folder)) == 2
    assert names_in(folder) == ["here-new.0"]


# ---- on a disk


def test_machines_of_one_name_are_told_apart(tmp_path, monkeypatch):
    """The number of the process means nothing here, though machine and container are called as this one."""
    other = tmp_path / "boot_id"
    other.write_text("another machine")
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_BOOT", other)
        who = {"host": claims._host(), "pid": 2**22 + 1, "started": 0.0}
        assert claims._has_ended(who)
    assert claims._host().partition("/")[0] == who["host"].partition("/")[0]
    assert not claims._has_ended(who)


def test_waiting_processes_look_less_and_less_often():
    pauses = list(zip(range(50), claims.growing_pauses(), strict=False))
    assert len({pause for _, pause in pauses}) == 50
    assert all(0.05 <= pause <= 0.1 for _, pause in pauses[:1])
    assert all(1.5 <= pause <= 3 for _, pause in pauses[20:])


@on_disk
def test_age_of_a_claim_is_by_the_clock_of_the_folder(folder, monkeypatch):
    with Claims(folder) as one:
        one.take("a")
        for wrong in (-1e5, 1e5):
            monkeypatch.setattr(time, "time", lambda wrong=wrong: time.time_ns() / 1e9 + wrong)
            assert 0 <= claims_in(folder)["a"][1] < 5
        os.utime(folder / "a.0", (2e9 + time.time_ns() / 1e9,) * 2)
        assert claims_in(folder)["a"][1] == 0


# ---- at a URL


def test_claims_last_longer_than_requests():
    """Those to S3 are tried five times, 15 seconds each."""
    assert claims._lease(Url("s3://bucket/dem.zarr/batch/claims")) > 2 * 5 * 15


@at_url
def test_only_one_creates_a_file(folder, monkeypatch):
    url = folder / "a"
    assert created(url, b"one")
    assert not created(url, b"other")
    assert url.read_bytes() == b"one"
    url.unlink()
    url.unlink()  # gone
    with folder.reached() as (files, _):
        pipe_file, calls = files.pipe_file, []

    def answer_is_lost(path, value, **how):
        calls.append(path)
        pipe_file(path, value, **how)
        raise OSError(22, "the precondition did not hold")

    def conflict(path, value, **how):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(5, "ConditionalRequestConflict")
        pipe_file(path, value, **how)

    for broken in (answer_is_lost, conflict):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(files, "pipe_file", broken)
            assert created(url, b"this")
            assert len(calls) == (1 if broken is answer_is_lost else 3)
            assert not created(url, b"that")
        url.unlink()


def test_creation_that_fails_says_so(memory, monkeypatch):
    def refuses(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "pipe_file", refuses)
    monkeypatch.setattr("sunpy_demreg._common.urls._PAUSE", 0)
    with pytest.raises(PermissionError, match=r"`path`: memory://a cannot be reached .*Access Denied"):
        created(file_of("memory://a"), b"one")


@at_url
def test_no_network_for_a_moment_makes_no_claim_void(folder, monkeypatch):
    with Claims(folder) as one, Claims(folder) as other:
        one.stay()
        one.take("a")

        def fails(*_, **__):
            raise OSError("no network")

        with folder.reached() as (files, _), monkeypatch.context() as patch:
            patch.setattr(files, "cat_file", fails)
            patch.setattr(files, "pipe_file", fails)
            one._touch()
            with pytest.raises(ConnectionError, match=r"a.0 cannot be reached .*no network"):
                other.take("a")
        assert one.is_mine("a")
