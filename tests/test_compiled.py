"""The compiled code: that it is right, where it is kept, and what happens where it is not to be had."""

import ctypes
import os
import socket
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from synthetic import instrument, make_problem, pixels
from test_engines import assert_identical, forget, run_on_cpu

import sunpy_demreg
from sunpy_demreg import EngineWarning
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base import warn_once
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.cpu import engine, self_test


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(warn_once, "_said", {})


def told_that_code_is_not_kept():
    return pytest.warns(EngineWarning, match="cannot be cached .*SUNPY_DEMREG_CACHE")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of the test's own, and nothing compiled in this process."""
    monkeypatch.setenv("SUNPY_DEMREG_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache"
    forget()


def small_run(options=Options()):  # noqa: B008 (it does not change)
    K, dlogt, logt = instrument(2, 6)
    return run_on_cpu(*pixels(K, logt, 20), K, dlogt, logt, options)


def count_compilations(monkeypatch):
    calls = []
    make = engine.llvm.create_pass_builder
    monkeypatch.setattr(engine.llvm, "create_pass_builder", lambda *a: calls.append(a) or make(*a))
    return calls


@pytest.mark.parametrize("options", [Options(), Options(outputs=("dem",)), Options(outputs=())])
def test_machine_code_is_kept_on_disk(cache, monkeypatch, options):
    calls = count_compilations(monkeypatch)
    before = small_run(options)
    assert len(list(cache.iterdir())) == len(calls) == 1
    forget()
    assert_identical(before, small_run(options))
    assert len(calls) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda code: b"",
        lambda code: code[:100],
        lambda code: b"\0" * len(code),
        lambda code: code[:2000] + bytes([code[2000] ^ 1]) + code[2001:],
    ],
    ids=["empty", "truncated", "zeros", "one bit"],
)
def test_damaged_machine_code_is_compiled_again(cache, monkeypatch, damage):
    before = small_run()
    [path] = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    forget()
    calls = count_compilations(monkeypatch)
    assert_identical(before, small_run())
    assert len(calls) == 1
    forget()
    small_run()
    assert len(calls) == 1, "the damaged file was not replaced"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_machine_code_that_others_could_write_is_not_run(cache, monkeypatch, what):
    """A file is replaced; of a folder it is said, once."""
    before = small_run()
    [path] = cache.iterdir()
    (path if what == "file" else cache).chmod(0o777)
    calls = count_compilations(monkeypatch)
    cure = rf"chmod go-w '{cache}'.*SUNPY_DEMREG_CACHE"
    for told in (nullcontext() if what == "file" else pytest.warns(EngineWarning, match=cure), nullcontext()):
        forget()
        with told:
            assert_identical(before, small_run())
    assert len(calls) == (1 if what == "file" else 2)


@pytest.mark.parametrize("trouble", ["file in the way", "no home", "not to be replaced"])
def test_cache_that_cannot_be_used_is_no_error(cache, monkeypatch, trouble):
    if trouble == "file in the way":
        cache.write_text("in the way")
    elif trouble == "no home":
        monkeypatch.delenv("SUNPY_DEMREG_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("read-only")))
    told = told_that_code_is_not_kept()
    with nullcontext() if trouble == "no home" else told:
        assert np.all(np.isfinite(small_run().dem))
    assert not cache.is_dir() or list(cache.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
@pytest.mark.parametrize("what", ["pipe", "socket", "device", "dangling link", "folder"])
def test_what_is_no_file_is_not_waited_for(cache, monkeypatch, what):
    """It is replaced, but for a folder, of which it is said."""
    before = small_run()
    [path] = cache.iterdir()
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        monkeypatch.chdir(cache)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as open_socket:
            open_socket.bind(path.name[:60])
        os.rename(path.name[:60], path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else "nowhere")
    forget()
    with told_that_code_is_not_kept() if what == "folder" else nullcontext():
        assert_identical(before, small_run())
    assert list(cache.iterdir()) == [path]
    assert path.is_dir() if what == "folder" else path.is_file()


def test_relative_folder_is_that_of_the_first_call(tmp_path, monkeypatch):
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir(), other.mkdir()
    monkeypatch.setenv("SUNPY_DEMREG_CACHE", "relative_to_the_first")
    for folder in (first, other):
        monkeypatch.chdir(folder)
        forget()
        small_run()
    forget()
    assert len(list((first / "relative_to_the_first").iterdir())) == 1
    assert not list(other.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it cannot be removed")
@pytest.mark.parametrize("chosen", ["relative_to_nothing", None])
def test_working_directory_that_is_gone(tmp_path, monkeypatch, chosen):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    if chosen:
        monkeypatch.setenv("SUNPY_DEMREG_CACHE", chosen)
    forget()
    with told_that_code_is_not_kept() if chosen else nullcontext():
        assert np.all(np.isfinite(small_run().dem))
    forget()


def solve_three_times(options, backend="cpu", dtype="float64"):
    """In one call, on threads, and in others."""
    K, dlogt, logt = instrument(2, 9)
    g, sigma = pixels(K, logt, 5000)
    sigma[1, 3], g[1, 7] = sigma[1, 3] * 1e-7, np.nan
    answers, problem = [], make_problem(K, dlogt, logt, options)
    for _ in range(3):
        status = execute.classify(g, sigma)
        answers.append(execute.run(g, sigma, status, problem, backend=backend, dtype=dtype, workers=2))
    return answers


def assert_plain_arrays_solve(options, match, dtype="float64"):
    expected = solve_three_times(options, "numpy", dtype)[0]
    with pytest.warns(EngineWarning, match=match) as record:
        answers = solve_three_times(options, dtype=dtype)
    assert len(record) == 1
    assert record[0].filename == __file__
    for answer in answers:
        for ours, truth in zip(answer, expected, strict=True):
            np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize(("options", "dtype"), [(Options(), "float64"), (Options(positivity="constrain"), "float32")])
@pytest.mark.parametrize("fault", ["value", "value of another lane", "not a number", "status"])
def test_code_that_is_wrong_is_not_used(cache, monkeypatch, options, dtype, fault):
    """By a part in a million, in one place of one pixel; nor is it kept."""
    loaded = engine._loaded

    def spoiled(machine, code):
        program = loaded(machine, code)

        def run(*values):
            program(*values)
            given = dict(zip((*engine.ARGUMENTS, *engine.NUMBERS), values, strict=True))
            name = {"not a number": "dem", "status": "status"}.get(fault, "regularization_parameter")
            kind = np.dtype("int32" if name == "status" else dtype)
            lane = given["start"] + (5 if "lane" in fault else 0)
            address = given[name] + kind.itemsize * lane
            value = np.frombuffer((ctypes.c_char * kind.itemsize).from_address(address), kind)
            if fault == "status":
                value ^= 256
            else:
                value *= np.nan if fault == "not a number" else 1 + 1e-6

        return run

    monkeypatch.setattr(engine, "_loaded", spoiled)
    assert_plain_arrays_solve(options, "compiled code is wrong: .*llvmlite.*backend='numpy'", dtype)
    assert not cache.exists()


def test_kept_code_that_became_wrong_is_not_used(cache, monkeypatch):
    """Another processor of the same name, say: the answer is stored with the code."""
    solve_three_times(Options())
    forget()
    monkeypatch.setattr(self_test.SelfTest, "expected", lambda self: pytest.fail("computed again"))
    solve_three_times(Options())
    forget()
    divided = engine._divided

    def spoiled(kept):
        code, expected = divided(kept)
        return code, expected * np.r_[np.full(len(expected) - 1, 1 + 1e-6), 1][:, None]  # but for the status

    monkeypatch.setattr(engine, "_divided", spoiled)
    assert_plain_arrays_solve(Options(), "compiled code is wrong")


@pytest.mark.parametrize("error", [RuntimeError("no target"), OSError("no memory to run"), AttributeError("renamed")])
def test_code_that_cannot_be_compiled(cache, monkeypatch, error):
    tries = []

    def fail(*args):
        tries.append(args)
        raise error

    monkeypatch.setattr(engine.llvm, "create_pass_builder", fail)
    assert_plain_arrays_solve(Options(), f"cannot be compiled: {type(error).__name__}: {error}")
    assert len(tries) == 1


@pytest.mark.parametrize("error", [ImportError("none"), OSError("no shared object")])
def test_without_llvmlite(monkeypatch, error):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "llvmlite" or name.startswith("llvmlite."):
                raise error

    for name in [n for n in sys.modules if n.split(".")[0] == "llvmlite" or n == "sunpy_demreg._engines.cpu.engine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert_plain_arrays_solve(Options(), f"llvmlite cannot be imported: {error}")


def test_fault_that_is_not_told_apart_from_a_user_error(cache, monkeypatch):
    """Memory that is not there is no reason to be slow in silence."""
    monkeypatch.setattr(engine.llvm, "create_pass_builder", lambda *a: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        solve_three_times(Options())


def run_script(code, cache):
    """In a process of its own: it prints a line."""
    environment = os.environ | {"SUNPY_DEMREG_CACHE": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(sunpy_demreg.__file__).parents[1])]
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=True
    ).stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked")
def test_process_forked_while_a_thread_compiles_does_not_hang(tmp_path):
    """Nor does one that is forked while another thread imports llvmlite for the first time."""
    code = """if True:
        import os, signal, threading, time
        import numpy as np
        from synthetic import instrument, pixels, run
        from sunpy_demreg._engines import execute
        from sunpy_demreg._engines.base.options import Options

        K, dlogt, logt = instrument(2, 6)
        g, sigma = pixels(K, logt, 3000)
        def solve(target, positivity):
            options = Options(chi_squared_target=target, positivity=positivity, outputs=("dem",))
            return run(g, sigma, execute.classify(g, sigma), K, dlogt, logt, options, workers=2).dem
        ends = []
        for positivity in (None, "relax"):
            thread = threading.Thread(target=solve, args=(1.0, positivity))
            thread.start()
            children = []
            for _ in range(6):
                time.sleep(0.03)
                child = os.fork()
                if not child:
                    signal.alarm(60)
                    os._exit(0 if np.isfinite(solve(1.1, positivity)).all() else 1)
                children.append(child)
            thread.join()
            ends += [os.waitpid(child, 0)[1] for child in children]
        print(ends)
    """
    assert run_script(code, tmp_path / "cache") == str([0] * 12)


def test_turns_that_threads_have_taken_are_free_in_a_forked_process():
    from sunpy_demreg._inversion import blocks

    with blocks._turn(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork() if hasattr(os, "fork") else None
        if child == 0:
            os._exit(0 if blocks._turn(1).acquire(timeout=5) else 1)
    if child is not None:
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.name != "posix", reason="a signal that a process sends to itself")
def test_interruption_is_heard_while_code_is_made(tmp_path):
    """And the next call works."""
    code = """if True:
        import os, signal, threading
        import numpy as np
        from synthetic import instrument, pixels, run
        from test_engines import forget
        from sunpy_demreg._engines import execute
        from sunpy_demreg._engines.cpu import engine
        from sunpy_demreg._engines.base.options import Options

        K, dlogt, logt = instrument(2, 6)
        g, sigma = pixels(K, logt, 30)
        def solve(k):
            options = Options(n_refinements=k, outputs=("dem",))
            return run(g, sigma, execute.classify(g, sigma), K, dlogt, logt, options, workers=2).dem
        def interrupt():
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        outcomes, emit = [], engine.llvm.targets.TargetMachine.emit_object
        def emit_and_wait(machine, module):  # machine code is being made
            threading.Timer(0.01, interrupt).start()
            return emit(machine, module)
        for k in range(6):
            sent = []
            timer = threading.Timer(0.02 + 0.02 * k, interrupt)  # well before the code is there
            if k % 2:
                engine.llvm.targets.TargetMachine.emit_object = emit_and_wait
            else:
                timer.start()
            try:
                solve(k)
                outcomes.append("lost" if sent else "not sent")
            except KeyboardInterrupt:
                outcomes.append("heard")
            finally:
                timer.cancel()
            engine.llvm.targets.TargetMachine.emit_object = emit
        print(*sorted(set(outcomes)), all(np.isfinite(solve(k)).all() for k in range(6)))
    """
    assert run_script(code, tmp_path / "cache") == "heard True"


def test_interruption_leaves_nothing_beside_the_code(cache, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_run()
    assert list(cache.iterdir()) == []
