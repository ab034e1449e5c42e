"""The tables of the performance page, in reStructuredText, and the rows of the CSV files."""

from sunpy_demreg._bench.rst import list_table, number

__all__ = ["flat_rows", "table"]

_CASES = {
    "demregpy": "demregpy 1.0",
    "utu": "utu 0.5 (other method)",
    "cpu": "``cpu``",
    "cpu, grid": '``cpu``, ``parameter_choice="grid"``',
    "cpu, DEM only": "``cpu``, DEM and chi-squared",
    "numpy": "``numpy``",
    "numpy, DEM only": "``numpy``, DEM and chi-squared",
}


def flat_rows(part, results):
    """Rows of plain numbers, by the names of their columns."""
    rows = results if isinstance(results, list) else results.get("rows")
    if part == "profile":
        return [
            {name: value for name, value in row.items() if name != "operations"} | row.get("operations", {})
            for row in rows
        ]
    if rows is not None:
        return rows
    if part == "full-disk":
        seconds = {f"{name}_seconds": value for name, value in results["seconds"].items()}
        return [
            {"rule": rule, "pixels": results["n_pixels"], "bins": results["n_bins"], **seconds}
            | {name: value for name, value in of.items() if name != "status"}
            | of["status"]
            for rule, of in results["rules"].items()
        ]
    return [{"quantity": name, "value": value} for name, value in _flat(results)]


def _flat(results, prefix=""):
    for name, value in results.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def table(part, results, environment):
    """What the performance page includes."""
    lines = [
        f".. Written by sunpy-demreg bench on {environment['date']}: do not edit.",
        "",
        *_TABLES[part](results),
        "",
        _measured_on(environment),
    ]
    return "\n".join(lines) + "\n"


def _measured_on(environment):
    packages = environment["packages"]
    names = ", ".join(f"{name} {packages[name]}" for name in ("numpy", "llvmlite", "numba") if name in packages)
    quick = "a quick run, of few pixels, " if environment["quick"] else ""
    return (
        f"Measured on {environment['date']}: {quick}sunpy_demreg {environment['sunpy-demreg']}, "
        f"Python {environment['python']}, {names}; {environment['processor']}, cores: {environment['cores']}; medians "
        f"of {environment['repeats']} rounds or as said; load average before: {environment['load_average_before']:.1f}."
    )


def _range(row, prefix=""):
    return f"{number(row[f'{prefix}us_fastest'])}–{number(row[f'{prefix}us_slowest'])}"


def _time(row, prefix=""):
    """The median, and the range."""
    return f"{number(row[f'{prefix}us_per_pixel'])} ({_range(row, prefix)})"


def _peers(rows):
    bins, cores = (sorted({row[name] for row in rows}) for name in ("bins", "cores"))
    most = cores[-1]
    of = {(row["case"], row["bins"], row["cores"]): row for row in rows}
    names = [name for name in _CASES if any(row["case"] == name for row in rows)]
    main = 41 if 41 in bins else bins[0]
    lines = [
        f"{main} bins; µs per pixel, with the fastest and the slowest round, and the ratios for cores: {most}:",
        "",
    ]
    lines += list_table(
        ("code", *(f"µs, cores: {n}" for n in cores[::-1]), "× demregpy", "× utu"),
        [
            (
                _CASES[name],
                *(_time(of[name, main, n]) for n in cores[::-1]),
                number(of[name, main, most]["times_demregpy"]),
                number(of[name, main, most]["times_utu"]),
            )
            for name in names
        ],
        (34, *(22 for _ in cores), 11, 11),
    )
    lines += ["", "The same runs: how many pixels, bytes of input and output per pixel, and chi-squared:", ""]
    lines += list_table(
        ("code", "pixels", "bytes", "χ², median", "95 %"),
        [
            (
                _CASES[name],
                row["pixels"],
                number(row["bytes_per_pixel"]),
                f"{row['chi_squared_median']:.2f}",
                f"{row['chi_squared_95']:.2f}",
            )
            for name in names
            for row in [of[name, main, most]]
        ],
        (40, 15, 15, 15, 15),
    )
    lines += ["", f"By the number of bins, cores: {most}; µs per pixel (and how many times faster than demregpy):", ""]
    lines += list_table(
        ("code", *(f"{n} bins" for n in bins)),
        [
            (
                _CASES[name],
                *(
                    f"{number(of[name, n, most]['us_per_pixel'])} ({number(of[name, n, most]['times_demregpy'])})"
                    for n in bins
                ),
            )
            for name in names
        ],
        (30, *(14 for _ in bins)),
    )
    worst = max(row["largest_difference"] for row in rows if row["case"] in ("cpu, grid", "numpy"))
    engines = max(row["largest_difference"] for row in rows if row["case"] == "cpu")
    return [
        *lines,
        "",
        f"With demregpy's own rule (grid) both engines give its answers to {worst:.1e} of each pixel's peak at most, "
        "over all outputs and numbers of bins; the compiled engine those of the plain arrays to "
        f"{engines:.1e}.",
    ]


def _sweep(rows):
    head = ("bins", "pixels", "case", "µs", "χ², 25 %", "median", "75 %", "95 %")
    quantiles = ("25", "median", "75", "95")
    return [
        f"Six channels, the compiled engine, cores: {rows[0]['cores']}; µs per pixel, with the fastest and the "
        "slowest round, chi-squared beside each time:",
        "",
        *list_table(
            head,
            [
                (
                    row["bins"],
                    row["pixels"],
                    row["case"],
                    _time(row),
                    *(f"{row[f'chi_squared_{q}']:.2f}" for q in quantiles),
                )
                for row in rows
            ],
            (8, 9, 21, 26, 9, 9, 9, 9),
        ),
    ]


def _profile(results):
    def sum_of(row, *kinds):
        both = [f"{prefix}{kind}" for kind in kinds for prefix in ("", "single ")]
        return number(sum(row["operations"].get(kind, 0.0) for kind in both)) if "operations" in row else "–"

    head = ("stage", "ns", "limit", "\\+ −", "×", "÷ √", "<, choose", "load, store")
    limits = results["limits"]
    whole = next(row for row in results["rows"] if row["stage"] == "the engine")
    return [
        f"One pixel of {results['n_pixels']}, {results['n_bins']} bins, all outputs, one thread; nanoseconds (of "
        "the fastest rounds) and operations per pixel that each stage adds:",
        "",
        *list_table(
            head,
            [
                (
                    row["stage"],
                    number(row["ns_per_pixel"]),
                    number(row.get("ns_at_limit")),
                    sum_of(row, "add", "multiply-add"),
                    sum_of(row, "multiply", "multiply-add"),
                    sum_of(row, "divide", "square root"),
                    sum_of(row, "compare", "select"),
                    sum_of(row, "load", "load for all lanes", "store"),
                )
                for row in results["rows"]
            ],
            (36, 10, 9, 9, 9, 8, 10, 10),
        ),
        "",
        "The operations are those of the compiled code, counted as it ran over these pixels. The limit is the time "
        "that they would take at the rates which one core of this processor reached, all else costing nothing: "
        f"{limits['multiply-add'] / 1e9:.1f} billion fused products and sums per second, every sum being fused with a "
        f"product, or {limits['divide'] / 1e9:.2f} billion divisions and {limits['square root'] / 1e9:.2f} billion "
        "square roots, whichever takes longer. The engine takes "
        f"{whole['ns_per_pixel'] / whole['ns_at_limit']:.1f} times as long.",
    ]


def _startup(results):
    one, memory = results["one_pixel"], results["memory"]

    def micro(name):
        return f"{number(1e6 * one[name]['median'])} µs"

    def mega(backend):
        return f"{memory[backend]['beyond_bytes'] / 2**20:.0f} MiB"

    rows = [
        ("compiling, into an empty cache", f"{results['compile']['median']:.2f} s"),
        ("compiled code from the cache", f"{results['from_cache']['median']:.2f} s"),
        ("one pixel, ``invert``: units, checks, cubes", micro("invert")),
        ("one pixel, ``dn2dem_pos``", micro("dn2dem_pos")),
        ("one pixel, the engine alone", micro("engine")),
        (f"memory beyond input and output, {memory['cpu']['n_pixels']} pixels, ``cpu``", mega("cpu")),
        (f"the same, {memory['numpy']['n_pixels']} pixels, ``numpy``", mega("numpy")),
    ]
    return [f"{results['n_bins']} bins, all outputs:", "", *list_table(("", ""), rows, (70, 30))]


def _full_disk(results):
    seconds, n_pixels = results["seconds"], results["n_pixels"]
    steps = ", ".join(f"{name} {seconds[name]:.1f} s" for name in ("read", "prepare", "from_aia"))
    head = ("positivity", "inversion", "µs per pixel", "in all", "χ², median", "95 %")
    remarks = [
        f'``"{rule}"``: {of["n_solved"]} solved; '
        + ", ".join(f"{name} {count}" for name, count in of["status"].items())
        for rule, of in results["rules"].items()
    ]
    return [
        f"The synoptic maps of 2014-01-01, {n_pixels} pixels, {results['n_bins']} bins, from the files to the result "
        f"({steps}; {results['rules']['relax']['peak_bytes'] / 2**30:.2f} GiB resident at the peak):",
        "",
        *list_table(
            head,
            [
                (
                    f'``"{rule}"``',
                    f"{seconds[rule]:.2f} s",
                    number(1e6 * seconds[rule] / n_pixels),
                    f"{of['total_seconds']:.1f} s",
                    f"{of['chi_squared_median']:.2f}",
                    f"{of['chi_squared_95']:.2f}",
                )
                for rule, of in results["rules"].items()
            ],
        ),
        "",
        f"Constraining takes {seconds['constrain'] / seconds['relax']:.2f} times as long as relaxing. "
        f"{'. '.join(remarks)}. Pixels that are not solved are masked with their reason.",
    ]


def _baseline(results):
    versions = results["versions"]
    head = ("bins", "case", "this, µs", "baseline, µs", "times faster", "range", "largest difference")
    return [
        f"This version, {versions['this']}, and {versions['baseline']}, in turn; µs per pixel, and the largest "
        "difference of an answer relative to the pixel's peak:",
        "",
        *list_table(
            head,
            [
                (
                    row["bins"],
                    row["case"],
                    _time(row, "this_"),
                    _time(row, "baseline_"),
                    f"{row['times_baseline']:.2f}",
                    f"{row['times_least']:.2f}–{row['times_most']:.2f}",
                    f"{row['largest_difference']:.1e}",
                )
                if "times_baseline" in row
                else (row["bins"], row["case"], "–", "cannot do it", "–", "–", "–")
                for row in results["rows"]
            ],
        ),
    ]


_TABLES = {
    "peers": _peers,
    "sweep": _sweep,
    "profile": _profile,
    "startup": _startup,
    "full-disk": _full_disk,
    "baseline": _baseline,
}
