"""A table of scores for the terminal."""

from collections.abc import Mapping

_ABSENT = "-"


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out scores as text, a line a row, without a newline at the end.

    Parameters
    ----------
    rows : row name → column name → value. Columns stand in the order in which they first occur; a value that a row
        lacks is shown as ``-``, floats with 3 decimals, whole numbers (int) as they are.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [["", *columns]]
    table += [[name, *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in table
    )


def _cell(value: float | None) -> str:
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, int) else f"{value:.3f}"
