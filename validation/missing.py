"""
Faint and missing intensities: which pixels are gained by using them, and how good their DEMs are.

    nice python validation/missing.py [--quick] [--write]

Prints the tables of the theory page; ``--write`` puts them into ``docs/_tables/missing_*.rst``.
"""

import argparse
import sys
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import sunpy.map

import sunpy_demreg as demreg
from sunpy_demreg import Status
from sunpy_demreg._common.constants import AIA_CHANNELS
from validation.families import _random_sums, _solar, solar
from validation.setting import BIN_CENTERS, EDGES, ROOT, em_in_bins, intensity_of, inverted, observe

METHODS = {"relax": {}, "constrain": {"positivity": "constrain"}, "lognormal": {"method": "lognormal"}}
FAMILIES = {name: _solar(name) for name in ("quiet Sun", "active region", "flare")} | {
    "five components": _random_sums(5)
}
TOTALS = (10**25.5, 1e26)  # cm-5, of a faint corona off the limb
FLARE_TIMES = ("01-50", "01-52", "01-54")


def leave_one_out(number, seed=0):
    """Median error ``E``: by family and method, with all channels and without each one of them."""
    table = {}
    for family, make in FAMILIES.items():
        rng = np.random.default_rng(seed)
        em = make(rng, number)
        intensity, sigma = observe(intensity_of(em), rng)
        truth = em_in_bins(em)
        for method in ("relax", "lognormal"):
            row = []
            for missing in (None, *range(len(AIA_CHANNELS))):
                given = intensity.copy()
                given[[] if missing is None else [missing]] = np.nan
                found = inverted(given, sigma, **METHODS[method]).em
                row.append(np.nanmedian(np.abs(found - truth).sum(axis=0) / truth.sum(axis=0)))
            table[f"{family}, {method}"] = [f"{value:.2f}" for value in row]
    return ["median error E", "all", *(f"no {channel} Å" for channel in AIA_CHANNELS)], table


def bias(number, seed=0):
    """Mean over noisy copies of a faint pixel, relative to the truth, of all and of those without negative ones."""
    table = {}
    for total in TOTALS:
        rng = np.random.default_rng(seed)
        em = solar("quiet Sun", total=total)
        truth = em_in_bins(em)
        intensity, sigma = observe(np.repeat(intensity_of(em)[:, None], number, axis=1), rng, n_sample=16)
        is_positive = (intensity > 0).all(axis=0)
        bins = (BIN_CENTERS > 5.9) & (BIN_CENTERS < 6.5)
        for method, options in METHODS.items():
            result = inverted(intensity, sigma, **options)
            found = result.em[bins].sum(axis=0) / truth[bins].sum()
            row = [f"{is_positive.mean():.0%}", f"{result.is_solved.mean():.0%}"]
            for kept in (result.is_solved, result.is_solved & is_positive):
                row.append(f"{found[kept].mean():.2f} ± {found[kept].std() / np.sqrt(kept.sum()):.2f}")
            table[f"{total:.1e} cm-5, {method}"] = row
    return ["EM of log T 5.9 to 6.5 / truth", "all channels > 0", "solved", "mean of all", "mean of those > 0"], table


def masked(number=None):
    """Pixels of real data that are masked, by reason, and those solved with a remark, before and now."""
    folder = files("demregpy") / "tests" / "data"
    cubes = {"full disk, 2014-01-01": demreg.prepare(sunpy.map.Map(str(folder / "aia" / "*.fits")), n_sample=16)}
    for name in FLARE_TIMES:
        paths = sorted(str(path) for path in (folder / "aia_flare").iterdir() if f"T{name}" in path.name)
        cubes[f"flare of 2011-02-15, {name.replace('-', ':')}"] = demreg.prepare(paths)[:, 2:65, 2:65]
    table = {}
    for name, cube in cubes.items():
        row = [f"{cube.data[0].size}"]
        for options in ({"nonpositive": "mask", "missing_channels": "mask"}, {}):
            response = demreg.TemperatureResponse.from_aia(cube)
            counts = demreg.invert(cube, response, EDGES, outputs=("dem",), **options).meta["status_counts"]
            causes = {bit.name: counts[bit.name] for bit in Status.UNSOLVED if bit.name in counts}
            row.append(", ".join(f"{count} {cause}" for cause, count in causes.items()) or "none")
        names = ("NONPOSITIVE_INTENSITY", "MISSING_CHANNEL", "SATURATION_CONTRADICTED")
        row.append(", ".join(f"{counts[name]} {name}" for name in names if name in counts))
        table[name] = row
    return ["data", "pixels", 'masked with both "mask"', "masked by default", "solved with a remark"], table


def as_rst(head, table):
    """A list table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *([name, *cells] for name, cells in table.items())):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Faint and missing intensities.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases")
    parser.add_argument("--write", action="store_true", help="also write the tables of the documentation")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    for measure in (masked, bias, leave_one_out):
        text = as_rst(*measure(100 if chosen.quick else 1000))
        print(text, flush=True)
        if chosen.write:
            (ROOT / "docs" / "_tables" / f"missing_{measure.__name__}.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
