"""The kernel's source, compiled to machine code by NVIDIA's compiler: what a GPU would be given."""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import instrument, make_problem

from sunpy_demreg._engines.base.options import OUTPUTS, STANDARD_OUTPUTS, Options, make_plan
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.tables import N_SAMPLES, make_tables
from sunpy_demreg._engines.gpu.kernels import InCode, in_code_of, is_wide, make_kernels

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from nvrtc import PACKAGE, compile_kernel

try:
    importlib.metadata.distribution(PACKAGE)
except importlib.metadata.PackageNotFoundError:
    pytest.skip("nvidia-cuda-nvrtc-cu12 is for Linux and Windows on x86-64", allow_module_level=True)


def kernels(n_channels, n_bins, options, n_functionals=0, dtype="float64"):
    plan = make_plan(n_channels, options, dtype=dtype)
    samples = [(min(k * n_bins // N_SAMPLES, n_bins - 2), k * n_bins / N_SAMPLES % 1) for k in range(N_SAMPLES)]
    is_log_normal = options.method == "lognormal"
    ratios = np.random.default_rng(0).random((n_bins, RANK if is_log_normal else n_channels))
    in_code = InCode(samples, ratios.argmax(axis=1).tolist(), ratios.max(axis=1).tolist(), ratios.tolist())
    n_neighbors = 5 if is_log_normal else 0
    return {kernel.name: kernel for kernel in make_kernels(plan, n_bins, n_functionals, in_code, n_neighbors)[0]}


@pytest.mark.parametrize("architecture", ["sm_60", "sm_80", "sm_90", "sm_100"])
def test_registers_and_memory_of_the_kernels(architecture):
    """So many blocks of 128 threads as they ask for fit into the 65536 registers of a multiprocessor."""
    of = {name: compile_kernel(kernel.source, architecture) for name, kernel in kernels(6, 41, Options()).items()}
    assert of["solve"].registers <= 255
    assert of["solve"].spilled == 0
    assert of["solve"].stack <= 8 * (41 + 4) + 16  # the bins of a solution, and two behind each end
    assert of["errors"].registers <= 168
    # Weights and a column are in registers, not there, but for what the rare case in double precision is given. For
    # Blackwell the compiler spills some of them.
    given = 8 * 6 + 8 * 2
    assert of["errors"].stack == given if architecture != "sm_100" else of["errors"].stack < given + 2 * 4 * 41


def test_page_tells_of_these_kernels():
    """Registers, spills and instructions, for sm_80 and sm_90, are those of the compiler, and the table has them."""
    import gpu_estimate

    stored = json.loads((gpu_estimate.RESULTS / "gpu_operations.json").read_text(encoding="utf-8"))
    before = json.loads((gpu_estimate.RESULTS / "gpu_before.json").read_text(encoding="utf-8"))
    table = (gpu_estimate.ROOT / "docs" / "_tables" / "gpu.rst").read_text(encoding="utf-8")
    assert table == gpu_estimate.table(stored["operations"], stored["compiled"], before)
    rows = {(row["method"], row["n_bins"], row["kernel"]): row for row in stored["compiled"] if row["n_channels"] == 6}
    same_compiler = stored["nvrtc"] == importlib.metadata.version(PACKAGE)
    for method, n_bins in (("defaults", 41), ("defaults", 400), ('method="lognormal"', 41)):
        options = Options(**gpu_estimate.METHODS[method])
        for kernel in gpu_estimate.kernels(make_plan(6, options), n_bins, options)[0]:
            for architecture in gpu_estimate.ARCHITECTURES:
                report, told = (
                    compile_kernel(kernel.source, architecture),
                    rows[method, n_bins, kernel.name][architecture],
                )
                if same_compiler:
                    assert report._asdict() == told
                else:
                    assert report.instructions == pytest.approx(told["instructions"], rel=0.2)


@pytest.mark.parametrize("n_bins", [41, 81])
def test_bins_that_differ_by_rounding_share_their_kernels(n_bins):
    """Which have the samples in their code; and no sample moves by more than single precision rounds."""
    K, dlogt, logt = instrument(6, n_bins)
    tables = [make_tables(make_problem(K, dlogt, at, Options())) for at in (logt, logt * (1 + 2e-16), logt + 1e-14)]
    in_code = [in_code_of(each) for each in tables]
    assert in_code[0] == in_code[1] == in_code[2]
    left, fractions = zip(*in_code[0].samples, strict=True)
    np.testing.assert_array_equal(left, tables[0].left)
    np.testing.assert_allclose(fractions, tables[0].fraction, atol=2**-25)
    np.testing.assert_array_equal(fractions, np.float32(fractions))


def test_dates_share_their_kernels():
    """The sensitivity of each channel may change; the numbers in the code, times what it is now, are the response."""
    K, dlogt, logt = instrument(6, 41)
    sensitivity = np.array([1.0, 0.3, 0.71, 1e-3, 0.9, 2.0])[:, None]
    tables = [make_tables(make_problem(factor * K, dlogt, logt, Options())) for factor in (1.0, sensitivity)]
    in_code, later = (in_code_of(each) for each in tables)
    assert in_code == later
    for each in tables:
        found = np.array(in_code.ratios) * np.array(in_code.pivots)[:, None] * each.response.max(axis=0)
        np.testing.assert_allclose(found, each.response, rtol=2**-22)
    chosen = [row[pivot] for row, pivot in zip(in_code.ratios, in_code.largest_terms, strict=True)]
    assert set(chosen) == {1.0}
    assert np.abs(in_code.ratios).max() == 1.0


@pytest.mark.parametrize("n_bins", [128, 129, 400])
def test_form_of_the_columns_follows_the_bins(n_bins):
    report = compile_kernel(kernels(6, n_bins, Options())["errors"].source, "sm_90")
    assert is_wide(make_plan(6, Options()), n_bins) == (n_bins > 128)
    assert (report.registers <= 128) == (n_bins > 128)


@pytest.mark.parametrize(
    ("n_channels", "n_bins", "options"),
    [
        (1, 3, Options()),
        (2, 400, Options(parameter_choice="grid", positivity=None)),
        (4, 20, Options(parameter_choice="gcv")),
        (7, 30, Options(weighting="em_loci", loci=(0, 3, 6))),
        (5, 60, Options(positivity="constrain")),
        (12, 20, Options(positivity=None, outputs=("dem",))),
        (6, 81, Options(weighting="uniform", outputs=("dem",))),
        (3, 12, Options(outputs=OUTPUTS, n_refinements=1)),
        (6, 36, Options(outputs=("dem_uncertainty", "emission_measure", "is_resolved"), resolved_only=True)),
        (12, 150, Options(positivity=None, outputs=("temperature_resolution",))),
        (6, 30, Options(outputs=("dem", "dem_uncertainty"))),
        (6, 36, Options(method="lognormal", parameter_choice="prior", dem_error="posterior")),
        (12, 80, Options(method="lognormal", outputs=OUTPUTS)),
    ],
)
def test_kernels_compile(n_channels, n_bins, options):
    n_functionals = 2 if "emission_measure" in options.outputs else 0
    found = kernels(n_channels, n_bins, options, n_functionals)
    assert ("errors" in found) == (options.outputs != ("dem",))
    for kernel in found.values():
        assert compile_kernel(kernel.source, "sm_90").instructions > 100


def test_outputs_in_single_precision_are_rounded_when_they_are_stored():
    """And looked at, whether they fit; nothing else: the arithmetic is the same text."""
    double, single = (kernels(6, 41, Options(outputs=STANDARD_OUTPUTS), dtype=d) for d in ("float64", "float32"))
    for name, kernel in double.items():
        lines = [line for line in single[name].source.splitlines() if not line.startswith("is_broken |=")]
        assert len(lines) < len(single[name].source.splitlines())
        assert kernel.source.splitlines() == [line.replace("float *__r", "double *__r") for line in lines]


def test_error_of_the_compiler_is_an_error():
    with pytest.raises(RuntimeError, match=r"sm_90.*identifier"):
        compile_kernel('extern "C" __global__ void broken() { unknown = 1; }', "sm_90")
