"""Preloaded by a worker of Dask: as if there were a GPU. Its CuPy is the stand-in."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_cupy

_INSTALLED = fake_cupy.installed(pytest.MonkeyPatch())


def dask_setup(worker):
    _INSTALLED.__enter__()
