"""The tables of difficult pixels."""

from benchmarks.reporting import list_table, number, percent

__all__ = ["difficult"]


def difficult(results):
    """Lines in reStructuredText."""
    of = {what: [row for row in results["rows"] if row["what"] == what] for what in ("images", "one spike", "faults")}
    images, (first, *_) = of["images"], of["faults"]
    lines = [
        f"{images[0]['pixels']} faint pixels of the full-disk maps, with more than 0.2 DN/s in each channel and noise "
        "drawn on top; and the same with spikes, where one channel of every hundredth pixel is a hundred times as "
        "strong. µs per pixel of ``invert`` with all outputs, and the share of difficult pixels:",
        "",
    ]
    lines += list_table(
        (
            "bins, cores",
            "positivity",
            "µs",
            "times relax",
            "difficult",
            "µs with spikes",
            "times without spikes",
            "difficult with spikes",
        ),
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
        "One such spike, 41 bins, one thread: how many microseconds longer the engine takes with it than without, in a "
        "block of 2048 pixels and as the only pixel (the median of twenty spikes, and the most). Below some ten "
        "microseconds this is noise:",
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
        "1e70), six channels, 41 bins, one thread: microseconds of a difficult pixel that is alone in its block, and "
        f"of one of {first['lanes']} that share a register:",
        "",
    ]
    lines += list_table(
        (
            "positivity",
            "difficult pixels",
            "of these solved",
            "µs, mean of all",
            "among",
            "µs, median",
            "µs, 99 %",
            "µs, 99.9 %",
            "µs, slowest",
        ),
        [
            (
                f'``"{row["rule"]}"``' if lanes == 1 else "",
                row["difficult"] if lanes == 1 else "",
                row["solved"] if lanes == 1 else "",
                number(row["us_together"]) if lanes == 1 else "",
                "alone" if lanes == 1 else "difficult ones",
                *(number(row[f"us_{share:g}"] / lanes) for share in (0.5, 0.99, 0.999, 1.0)),
            )
            for row in of["faults"]
            for lanes in (1, row["lanes"])
        ],
    )
    return lines
