"""The benchmarks: all parts run, a wrong answer stops them, and what they count is what is there."""

import ast
import csv
import ctypes
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import problems, running, worker
from benchmarks.__main__ import main
from benchmarks.checks import WrongAnswer, check_chi_squared, check_same
from benchmarks.command import PARTS
from benchmarks.methods import PEER
from benchmarks.operations import with_counters
from benchmarks.processes import HERE, Process
from benchmarks.reporting import number

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_quick_run_of_everything(tmp_path):
    """One test, so that it is run once by any number of testing processes. The baseline is this very version."""
    folder = tmp_path / "new"
    assert main(["--quick", "--repeats", "1", "--baseline", str(HERE), "--output", str(folder)]) == 0
    for part in PARTS:
        check_files(folder, part)
    checks = (
        *(check_peers, check_methods, check_sweep, check_profile, check_difficult, check_startup, check_full_disk),
        check_baseline,
    )
    for check in checks:
        part = check.__name__.removeprefix("check_").replace("_", "-")
        check(results_of(folder, part)["results"])


def results_of(folder, part):
    return json.loads((folder / f"{part.replace('-', '_')}.json").read_text(encoding="utf-8"))


def check_files(folder, part):
    environment = results_of(folder, part)["environment"]
    assert environment["quick"]
    assert environment["repeats"] == 1
    assert environment["packages"]["numpy"] == np.__version__
    stem = part.replace("-", "_")
    table = (folder / f"{stem}.rst").read_text(encoding="utf-8")
    assert ".. list-table::" in table
    assert "a quick run" in table
    with open(folder / f"{stem}.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) > 1
    if part not in ("methods", "difficult", "startup", "full-disk"):
        assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")


def check_peers(results):
    rows = {row["case"]: row for row in results}
    assert ("utu" in rows) == (find_spec("utu") is not None)
    for row in rows.values():
        assert 0 < row["us_fastest"] <= row["us_per_pixel"] <= row["us_slowest"]
        expected = rows["demregpy"]["us_per_pixel"] / row["us_per_pixel"]
        assert row["times_demregpy"] == pytest.approx(expected)
    # 6 channels and their errors go in; DEM, error and resolution of 41 bins, chi-squared and 6 predictions come out.
    assert rows["demregpy"]["bytes_per_pixel"] == 8 * (12 + 3 * 41 + 1 + 6)
    assert rows["cpu"]["chi_squared_median"] == pytest.approx(1)
    assert rows["cpu, grid"]["largest_difference"] < 1e-9


def check_methods(results):
    rows = {row["case"]: row for row in results if row["cores"] == 1}
    ours = rows["log-normal: DEM, error of the posterior, chi-squared"]
    assert 0 < ours["us_fastest"] <= ours["us_per_pixel"]
    assert ours["processor_us_per_pixel"] > 0
    assert ours["chi_squared_median"] < 1
    assert rows["log-normal, χ² = 1: the same"]["chi_squared_median"] == pytest.approx(1)
    assert all(row["largest_difference"] < 1e-9 for row in results if row["case"] != PEER)


def check_sweep(rows):
    assert {(row["bins"], row["pixels"]) for row in rows} == {(41, 200), (41, 1000), (81, 200), (81, 1000)}
    for row in rows:
        quantiles = [row[f"chi_squared_{q}"] for q in ("25", "median", "75", "95")]
        assert quantiles == sorted(quantiles)
        if row["case"] == "constrain":
            assert quantiles == pytest.approx([1] * 4)


def check_profile(results):
    *stages, engine, constrained, seam = results["rows"][:6]
    *log_normal, log_normal_engine = results["rows"][6:]
    assert [row["stage"] for row in stages] == [
        "one system, DEM, chi-squared",
        "errors",
        "temperature resolution",
    ]
    assert [row["stage"] for row in log_normal] == [
        "log-normal: first pass, prior mean",
        "log-normal: prediction",
        "log-normal: temperature resolution",
    ]
    for parts, whole in ((stages, engine), (log_normal, log_normal_engine)):
        for kind, number_ in whole["operations"].items():
            assert number_ == pytest.approx(sum(row["operations"][kind] for row in parts))
        assert whole["ns_per_pixel"] == pytest.approx(sum(row["ns_per_pixel"] for row in parts))
    # The Jacobian of each pass: of six channels, by the 13 coefficients of the prior.
    passes = sum(of for kind, of in log_normal[1]["operations"].items() if "multipl" in kind)
    assert 41 * 6 * 13 * 5 < passes < 41 * 6 * 13 * 60
    # Each column of the resolution needs a product of each of its elements with each channel.
    products = sum(of for kind, of in stages[2]["operations"].items() if "multipl" in kind)
    assert 41 * 41 * 4 < products < 41 * 41 * 20
    assert engine["ns_at_limit"] > 0
    assert "operations" in constrained
    assert "operations" not in seam


def check_difficult(results):
    images, spikes, faults = (
        [row for row in results["rows"] if row["what"] == what] for what in ("images", "one spike", "faults")
    )
    for rows in (images, spikes, faults):
        assert {row["rule"] for row in rows} == {"relax", "constrain"}
    for row in images:
        assert row["us_per_pixel"] > 0
        assert row["difficult"] < 0.1
        assert row["times_relax"] == pytest.approx(1) or row["rule"] == "constrain"
    for row in faults:
        assert 0.3 < row["difficult"] / row["pixels"] < 1
        assert 0 < row["solved"] < row["difficult"]
        assert 0 < row["us_0.5"] <= row["us_0.99"] <= row["us_0.999"] <= row["us_1"]


def check_startup(startup):
    assert startup["one_pixel"]["engine"]["fastest"] > 0
    assert startup["memory"]["cpu"]["output_bytes"] == startup["memory"]["cpu"]["n_pixels"] * (
        8 * (3 * 41 + 1 + 6 + 1) + 4
    )
    assert startup["memory"]["cpu"]["beyond_bytes"] < 64 * 2**20


def check_full_disk(full):
    assert full["n_pixels"] == 256**2
    for rule in ("relax", "constrain"):
        assert full["rules"][rule]["chi_squared_median"] == pytest.approx(1)


def check_baseline(baseline):
    assert baseline["versions"]["baseline"] == f"{baseline['versions']['this']} in {HERE.name}"
    assert {row["largest_difference"] for row in baseline["rows"]} == {0.0}


def test_wrong_answer_stops_it(tmp_path, monkeypatch, capsys):
    run = Process.run

    def wrong(self, code, problem, options, kept=()):
        reply = run(self, code, problem, options, kept)
        if options.get("backend") != "numpy":
            reply["kept"]["dem"] = reply["kept"]["dem"] * (1 + 1e-8)
        return reply

    monkeypatch.setattr(Process, "run", wrong)
    assert main(["sweep", "--quick", "--output", str(tmp_path)]) == 1
    assert "the answers differ by 1.00e-08" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_checks_refuse_what_is_not_a_number():
    answer = {"dem": np.array([[1.0, 2.0], [3.0, 1.0]])}
    assert check_same("a", answer, answer) == 0
    for wrong in (np.nan, 3.1):
        other = {"dem": np.array([[1.0, 2.0], [wrong, 1.0]])}
        with pytest.raises(WrongAnswer, match="differ"):
            check_same("a", other, answer)
    with pytest.raises(WrongAnswer):  # nothing in common proves nothing
        check_same("a", answer, {"other": answer["dem"]})
    for deviation in (1e-6, np.nan):
        with pytest.raises(WrongAnswer, match="chi-squared"):
            check_chi_squared("a", {"deviation": deviation})


def test_problems_hold_the_common_pixels():
    small, large = problems.problem(200, 41), problems.problem(1000, 41)
    kept = problems.kept_pixels(1000)
    for name in ("intensity", "sigma"):
        np.testing.assert_array_equal(large[name][:, kept], small[name])
    assert large["intensity"].shape == (6, 1000)
    assert np.unique(large["intensity"], axis=1).shape == (6, 1000)


_LOOP = """
define void @run(ptr %out, i64 %turns) {
  %start = load <4 x double>, ptr %out, align 8
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %x = phi <4 x double> [ %start, %0 ], [ %z, %loop ]
  %y = fmul contract <4 x double> %x, %x
  %z = call <4 x double> @llvm.sqrt.v4f64(<4 x double> %y)
  %next = add i64 %i, 1
  %again = icmp slt i64 %next, %turns
  br i1 %again, label %loop, label %end
end:
  store <4 x double> %z, ptr %out, align 8
  %narrow = fptrunc <4 x double> %z to <4 x float>
  %half = fadd <4 x float> %narrow, %narrow
  ret void
}
declare <4 x double> @llvm.sqrt.v4f64(<4 x double>)
"""


def test_operations_are_counted_as_often_as_they_run():
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text, blocks = with_counters(_LOOP)
    assert [dict(block) for block in blocks] == [
        {"load": 4},
        {"multiply": 4, "square root": 4},
        {"store": 4, "convert": 4, "single add": 4},
    ]
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    numbers = np.full(4, 3.0)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("run"))
    run(numbers.ctypes.data, 7)
    run(numbers.ctypes.data, 2)
    turns = (ctypes.c_int64 * 3).from_address(engine.get_global_value_address("operation_counters"))
    assert list(turns) == [2, 9, 2]
    np.testing.assert_array_equal(numbers, 3.0)


def test_worker_runs_beside_any_version():
    """It loads nothing of this package but what it runs, inside functions."""
    with open(worker.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert names
    assert names <= sys.stdlib_module_names
    assert not any(isinstance(node, ast.ImportFrom) for node in tree.body)


def test_failures_in_a_process_are_told():
    with Process() as process:
        with pytest.raises(RuntimeError, match="No module named 'absent'"):
            process("about", module="absent")
        assert process("about", module="sunpy_demreg")[0].startswith(str(HERE))
    with Process() as process, pytest.raises(RuntimeError, match="the process of os:abort ended with the code"):
        process("os:abort")


def test_missing_reference_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "find_spec", lambda name: None)
    assert main(["peers", "--quick", "--output", str(tmp_path)]) == 1
    assert "pip install 'sunpy-demreg[bench]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["speed"], "`PART` must be one of peers, sweep"),
        (["baseline"], "pass its folder as `--baseline DIR`"),
        (["--baseline", "absent"], "there is no sunpy_demreg in absent"),
    ],
)
def test_bad_command_says_why(tmp_path, capsys, arguments, words):
    output = tmp_path / "new"
    assert main([*arguments, "--output", str(output)]) == 1
    assert words in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_repeats_must_be_a_number(capsys, value):
    with pytest.raises(SystemExit, match="2"):
        main(["--repeats", value])
    assert "--repeats" in capsys.readouterr().err


def test_another_version_must_be_the_one_in_its_folder(tmp_path, monkeypatch, capsys):
    """An installation that comes first in the search for modules would be measured against itself."""
    (tmp_path / "sunpy_demreg").mkdir()
    (tmp_path / "sunpy_demreg" / "__init__.py").touch()
    start = Process.__init__
    monkeypatch.setattr(Process, "__init__", lambda self, n_cores, folder: start(self, n_cores, HERE))
    assert main(["baseline", "--quick", "--baseline", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "was imported" in capsys.readouterr().err


def test_numbers_have_no_exponents():
    assert [number(value) for value in (None, 0, 1034.2, 99.96, 3.014, 0.0256)] == [
        "–",
        "0",
        "1034",
        "100",
        "3.01",
        "0.0256",
    ]


def test_table_of_the_gpu_page_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_table

    report = json.loads(gpu_table.RESULTS.read_text(encoding="utf-8"))
    text = gpu_table.table(report)
    assert gpu_table.TABLE.read_text(encoding="utf-8") == text
    assert f"one {report['environment']['device']}, {report['environment']['date']}" in text
    assert text.count("   * -") == len(report["cases"]) + len(report["peers"]) + 2


@pytest.mark.parametrize("anywhere", ["stand-in"], indirect=True)
def test_gpu_benchmark_measures_and_checks(anywhere, monkeypatch, tmp_path, capsys):
    """Some of its cases, of a few pixels, each with other arguments; and the sanitizer's."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import gpu_sanitize
    import gpu_table

    for name in ("N_COPIED", "N_ON_CUPY", "N_ON_CPU"):
        monkeypatch.setattr(gpu, name, 1000)
    monkeypatch.setattr(gpu, "find_spec", lambda name: name)
    every = gpu.cases(1024, 4096)
    assert any("lognormal" in case["method"] and case["lacking"] for case in every)
    some = [every[0], *(case for case in every if case["lacking"])]
    some = [case | {"n_pixels": 500, "n_bins": 24} for case in some]
    monkeypatch.setattr(gpu, "cases", lambda *sides: some)
    monkeypatch.setattr("sys.argv", ["gpu.py", "--output", str(tmp_path)])
    gpu.main()
    report = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [case["method"] for case in report["cases"]] == [case["method"] for case in some]
    assert all(case["kernel_seconds"] > 0 and case["touched_host_to_host_seconds"] > 0 for case in report["cases"])
    text = gpu_table.table(report)
    assert "Measured on one stand-in" in text
    assert '``method="lognormal"``, 10 % lack a channel' in text
    monkeypatch.setattr(gpu_sanitize, "CASES", [(12, 60, gpu_sanitize.STANDARD), (12, 60, gpu_sanitize.LOGNORMAL)])
    gpu_sanitize.main()
    assert capsys.readouterr().out.count("12 60 solved") == 2


def test_gpu_benchmark_refuses_a_wrong_answer(monkeypatch):
    """Of pixels that lack a channel, too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    from sunpy_demreg._engines import execute

    g, sigma = gpu.pixels(400)
    status, omitted = np.zeros(400, np.int32), gpu.lacking_channels(400, 10)
    assert 10 < np.count_nonzero(omitted) < 90
    answer = execute.run(g, sigma, status, gpu.problem(12), omitted=omitted)
    gpu.check(answer, g, sigma, omitted, gpu.problem(12), "float64")
    answer.dem[:, omitted != 0] *= 1 + 1e-8
    with pytest.raises(AssertionError, match="dem"):
        gpu.check(answer, g, sigma, omitted, gpu.problem(12), "float64")


def test_gpu_benchmark_says_what_it_lacks(monkeypatch):
    """A node without array-api-compat, of which SciPy no longer has a copy in one place."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "array_api_compat" else name)
    with pytest.raises(SystemExit, match=r"needs array-api-compat: install it with pip.* PYTHONPATH"):
        gpu.check_requirements()
