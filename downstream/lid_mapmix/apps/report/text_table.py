"""A table of scores for the terminal."""

from collections.abc import Mapping
from unicodedata import category

_ABSENT = "-"
# Unicode's control signs, and its line and paragraph separators.
_STEERING = ("Cc", "Zl", "Zp")


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out scores as text, a line a row, without a newline at the end.

    Parameters
    ----------
    rows : row name → column name → value. Columns stand in the order in which they first occur; a value that a row
        lacks is shown as ``-``, floats with 3 decimals, whole numbers (int) as they are. Line breaks and signs that
        steer a terminal are shown as Python escapes them.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [["", *columns]]
    table += [[_one_line(name), *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in table
    )


def _cell(value: float | None) -> str:
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, int) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _one_line(name: str) -> str:
    return "".join(ascii(sign)[1:-1] if category(sign) in _STEERING else sign for sign in name)
