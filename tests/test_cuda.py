"""The kernel's source, compiled to machine code by NVIDIA's compiler: what a GPU would be given."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from sunpy_demreg._engines._cuda import make_source
from sunpy_demreg._engines._tables import OUTPUTS, STANDARD_OUTPUTS, Options, make_plan

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from nvrtc import compile_kernel

try:
    importlib.metadata.distribution("nvidia-cuda-nvrtc-cu12")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("nvidia-cuda-nvrtc-cu12 is for Linux and Windows on x86-64", allow_module_level=True)


def source(n_channels, n_bins, options, n_functionals=0, dtype="float64"):
    plan = make_plan(n_channels, options, dtype=dtype)
    return make_source(plan, n_bins, n_functionals, 128)


@pytest.mark.parametrize("architecture", ["sm_60", "sm_80", "sm_90", "sm_100"])
def test_six_channels_need_no_memory_for_registers(architecture):
    report = compile_kernel(source(6, 41, Options()), architecture)
    assert report.spilled == 0
    # All on the stack are the bins of the weight, in both precisions, and of a column; addresses are aligned.
    assert report.stack <= 41 * (8 + 4 + 8) + 16
    # Two blocks of 128 threads fit into the 65536 registers of a multiprocessor.
    assert report.registers <= 255


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
    ],
)
def test_kernel_compiles(n_channels, n_bins, options):
    n_functionals = 2 if "emission_measure" in options.outputs else 0
    assert compile_kernel(source(n_channels, n_bins, options, n_functionals), "sm_90").size > 1000


def test_outputs_in_single_precision_are_rounded_when_they_are_stored():
    """And nothing else: the arithmetic is the same text."""
    double, single = (source(6, 41, Options(outputs=STANDARD_OUTPUTS), dtype=d) for d in ("float64", "float32"))
    assert double != single
    assert double == single.replace("float *__restrict__", "double *__restrict__")


def test_error_of_the_compiler_is_an_error():
    with pytest.raises(RuntimeError, match=r"sm_90.*identifier"):
        compile_kernel('extern "C" __global__ void broken() { unknown = 1; }', "sm_90")
