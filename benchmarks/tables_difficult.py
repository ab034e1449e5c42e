"""The tables of difficult pixels."""

from benchmarks.reporting import list_table, number, percent

__all__ = ["difficult"]


def difficult(results):
    """Lines in reStructuredText."""
    of = {what: [row for row in results["rows"] if row["what"] == what] for what in ("images", "one spike", "faults")}
    images, (first, *_) = of["images"], of["faults"]
    lines = [
        f"{images[0]['pixels']} faint pixels of the full-disk maps, with more than 0.2 DN/s in each channel and noise "
        "drawn on top, and the same where one channel of each hundredth pixel is a hundred times as strong; ``invert`` "
        "with all outputs, in turn:",
        "",
    ]
    lines += list_table(
        ("bins, cores", "positivity", "µs", "× relax", "difficult", "µs with spikes", "× without", "difficult"),
        [
            (
                f"{row['bins']}, {row['cores']}",
                f'``"{row["rule"]}"``',
                number(row["us_per_pixel"]),
                f"{row['times_relax']:.2f}",
                percent(row["difficult"], 3),
                number(row["us_with_spikes"]),
                f"{row['times_without_spikes']:.2f}",
                percent(row["difficult_with_spikes"], 3),
            )
            for row in images
        ],
    )
    lines += [
        "",
        "One such spike, 41 bins, one thread: the microseconds that the engine takes more with it than without, in a "
        "block of 2048 pixels and as the only pixel (the median of twenty spikes, and the most):",
        "",
    ]
    lines += list_table(
        ("positivity", "in an image", "alone"),
        [
            (
                f'``"{row["rule"]}"``',
                *(f"{number(row[f'us_{name}'])} ({number(row[f'us_{name}_most'])})" for name in ("image", "alone")),
            )
            for row in of["one spike"]
        ],
    )
    lines += [
        "",
        f"{first['pixels']} pixels with random faults (zeros, 1e-310 to 1e300, channels off by factors of 1e-70 to "
        "1e70), six channels, 41 bins, one thread: microseconds of a difficult one that is the only one of its block, "
        f"and, divided by {first['lanes']}, where the others of its register are like it:",
        "",
    ]
    lines += list_table(
        ("positivity", "difficult", "of these solved", "mean, together", "", "median", "99 %", "99.9 %", "slowest"),
        [
            (
                f'``"{row["rule"]}"``' if lanes == 1 else "",
                row["difficult"] if lanes == 1 else "",
                row["solved"] if lanes == 1 else "",
                number(row["us_together"]) if lanes == 1 else "",
                "alone" if lanes == 1 else "among such",
                *(number(row[f"us_{share:g}"] / lanes) for share in (0.5, 0.99, 0.999, 1.0)),
            )
            for row in of["faults"]
            for lanes in (1, row["lanes"])
        ],
    )
    return lines
