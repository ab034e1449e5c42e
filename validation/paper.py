"""
What the settings change on real data: a quiet Sun, an active region, a flare.

    nice python validation/paper.py [--write]

Prints the table of the page "Using it for a paper"; ``--write`` puts it into ``docs/_tables/paper_settings.rst``.
"""

import argparse
import sys
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import astropy.units as u
import sunpy.map
from astropy.coordinates import SkyCoord

import sunpy_demreg as demreg
from benchmarks.reporting import file_with_table, number, percent
from validation.setting import EDGES, ROOT

SETTINGS = {
    "``demreg`` (default)": {},
    "``demreg``, ``constrain``": {"positivity": "constrain"},
    "``lognormal``": {"method": "lognormal"},
}
CALIBRATION = (None, 0.1, 0.2)


def scenes():
    """Cubes of six channels, by name."""
    maps = sunpy.map.Map(str(files("demregpy") / "tests" / "data" / "aia" / "*.fits"))
    corners = [SkyCoord(x * u.arcsec, x * u.arcsec, frame=maps[0].coordinate_frame) for x in (-150, 150)]
    quiet = [each.submap(corners[0], top_right=corners[1]) for each in maps]
    return {
        "quiet Sun, disk center": demreg.prepare(quiet, n_sample=16),
        "active regions at the limb": demreg.prepare(demreg.sample.aia_maps(), n_sample=16),
        "flare, 01:50": demreg.prepare(demreg.sample.flare_maps(0))[:, 2:65, 2:65],
    }


def measure():
    """The head of the table, its rows, and what it shows."""
    head = ["scene, error of calibration", "χ² > 2 (%)", "EM (10²⁷ cm⁻⁵)", "above log T 6.8 (%)", "mean T (MK)"]
    rows = []
    for scene, cube in scenes().items():
        response = demreg.TemperatureResponse.from_aia(cube)
        for calibration in CALIBRATION:
            more = {} if calibration is None else {"calibration_error": calibration}
            found = [_of(demreg.invert(cube, response, EDGES, **options, **more)) for options in SETTINGS.values()]
            name = f"{scene}, {'none' if calibration is None else percent(calibration)}"
            rows.append([name, *(" / ".join(cells) for cells in zip(*found, strict=True))])
    note = f"In each cell: {' / '.join(SETTINGS)}."
    return head, rows, note


def _of(result):
    """The cells of one result."""
    every = demreg.emission_measure(result, EDGES[[0, -1]]).data
    # The edge of the bins that is next to it.
    hot = demreg.emission_measure(result, u.Quantity([10**6.825 * u.K, EDGES[-1]])).data
    return (
        f"{100 * np.nanmean(result['chi_squared'].data > 2):.1f}",
        number(np.nanmean(demreg.emission_measure(result).data) / 1e27),
        f"{100 * np.nansum(hot) / np.nansum(every):.0f}",
        f"{np.nanmedian(demreg.mean_temperature(result).to(u.MK).data):.1f}",
    )


def main(arguments=None):
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="What the settings change on real data.")
    parser.add_argument("--write", action="store_true", help="also write the table of the documentation")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    text = file_with_table("validation/paper.py", *measure())
    print(text)
    if chosen.write:
        (ROOT / "docs" / "_tables" / "paper_settings.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
