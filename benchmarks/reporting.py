"""Numbers and tables in reStructuredText, of the benchmarks and of the validation."""

__all__ = ["file_with_table", "list_table", "number", "percent", "power", "signed", "written_by"]


def list_table(head, rows, widths=None, title=""):
    """
    The lines of a table whose first row is its head.

    List tables, not the grids that `astropy.io.ascii` writes: a change of one cell is a change of one line, columns
    may have given widths, and first cells may be empty.
    """
    lines = [f".. list-table:: {title}".rstrip(), "   :header-rows: 1"]
    if widths:
        lines.append(f"   :widths: {' '.join(map(str, widths))}")
    lines.append("")
    for row in (head, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return lines


def written_by(script, date=None):
    """The comment at the top of a file that a script writes."""
    return f".. Written by {script}{f' on {date}' if date else ''}: do not edit.\n\n"


def file_with_table(script, head, rows, note="", widths=None):
    """The text of a file that a script writes: a table, and a paragraph above it."""
    note = f"{note}\n\n" if note else ""
    return written_by(script) + note + "\n".join(list_table(head, rows, widths)) + "\n"


def number(value):
    """Three digits, and never an exponent."""
    if value is None:
        return "–"
    if abs(value) >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


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
