"""Tables as files for papers: Markdown (.md), or LaTeX with booktabs (.tex)."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ...utils.files import write_text
from ...utils.one_line import one_line
from .tables import Table

# Characters that would end a cell of Markdown or change its text; `<` only before what could be a tag.
_MARKDOWN = re.compile(r"[\\|*`]|<(?=[A-Za-z/!?])")
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": r"\textendash{}", "…": r"\ldots{}"}
)
_NEGATIVE = re.compile(r"(?<![\w)\]-])-(?=\d)")
# LaTeX joins several hyphens to one dash.
_HYPHENS = re.compile("-(?=-)")


class Bold(str):
    """A bold cell."""


def as_markdown(table: Table) -> str:
    """Return a table in Markdown, with the caption below."""
    alignment = ["---"] * table.names + ["---:"] * (len(table.columns) - table.names)
    lines = [_markdown_row(table.columns), f"|{'|'.join(alignment)}|", *map(_markdown_row, table.rows)]
    return "\n".join([*lines, "", _markdown(table.caption)]) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\g<0>", one_line(text))
    return f"**{escaped}**" if isinstance(text, Bold) else escaped


def as_latex(table: Table) -> str:
    """Return a table in LaTeX, with the caption above; the document needs the package booktabs."""
    alignment = "l" * table.names + "r" * (len(table.columns) - table.names)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(table.caption)}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        _latex_row(table.columns),
        r"    \midrule",
        *map(_latex_row, table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(map(_latex, cells))
    # LaTeX would read these as arguments of the preceding end of a row.
    return f"    {'{}' if row.lstrip().startswith(('[', '*')) else ''}{row} \\\\"


def _latex(text: str) -> str:
    escaped = _HYPHENS.sub("-{}", _NEGATIVE.sub("$-$", one_line(text).translate(_LATEX)))
    return rf"\textbf{{{escaped}}}" if isinstance(text, Bold) else escaped


_WRITERS = {".tex": as_latex, ".md": as_markdown}


def table_file(text: str) -> Path:
    """Return the path of a file for tables, for argparse."""
    path = Path(text)
    if path.suffix.lower() not in _WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends in {' or '.join(_WRITERS)}")
    return path


def write_table_file(path: Path, tables: Sequence[Table]) -> None:
    """Write tables in sequence, in the format of the file name extension."""
    write_text(path, "\n".join(map(_WRITERS[path.suffix.lower()], tables)))
