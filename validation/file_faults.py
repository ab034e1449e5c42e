"""
Random faults of files: nothing that was there is lost, and nothing wrong is read.

    python validation/file_faults.py [--number 300] [--seed 0]

Prints what became of so many faults, each of a random kind at a random place of a FITS, ASDF or Zarr file (or while it
is written), and ends with an error at the first that did harm. `tests/file_faults.py` says what the faults are.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import astropy.units as u

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from file_faults import Faults, small_results  # noqa: E402

import sunpy_demreg  # noqa: E402


def main():
    """Parse the command line, have the faults, and count."""
    parser = argparse.ArgumentParser(description="Count what becomes of random faults of files.")
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cube = sunpy_demreg.prepare(sunpy_demreg.sample.aia_maps(), n_sample=16)[:, 40:44, 90:95]
    response, edges = sunpy_demreg.TemperatureResponse.from_aia(cube), 10 ** np.arange(5.575, 7.43, 0.3) * u.K
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(Path(folder), *small_results(cube, response, edges), np.random.default_rng(options.seed))
        counts = Counter((kind, outcome) for kind, _, outcome in (faults.one() for _ in range(options.number)))
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:>16}  {outcome:<30} {count:>5}")


if __name__ == "__main__":
    main()
