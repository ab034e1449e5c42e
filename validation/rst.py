"""Tables and numbers in reStructuredText."""

__all__ = ["WRITTEN", "list_table", "percent", "power", "signed"]

WRITTEN = ".. Written by validation/run.py: do not edit.\n\n"


def list_table(header, rows, note="", widths=None):
    """A list-table, and a paragraph above it."""
    lines = [WRITTEN.rstrip(), ""]
    if note:
        lines += [note, ""]
    lines += [".. list-table::", "   :header-rows: 1"]
    if widths:
        lines.append(f"   :widths: {' '.join(map(str, widths))}")
    lines.append("")
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def power(value):
    """A number of which the order of magnitude says most."""
    return "0" if value == 0 else f"{value:.1e}"


def percent(value, digits=0):
    """A share of one."""
    return f"{100 * value:.{digits}f} %"


def signed(value, digits=2, unit=""):
    """With its sign, of which zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return (text[1:] if float(f"{value:.{digits}f}") == 0 else text) + unit
