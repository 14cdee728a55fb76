"""Tables as files for papers: Markdown (.md), or LaTeX with booktabs (.tex)."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ...utils.files import write_text
from .tables import Table, one_line

# Signs of Markdown that would end a cell or change its text; `<` only where a tag could begin.
_MARKDOWN = re.compile(r"[\\|*`]|<(?=[A-Za-z/!?])")
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": r"\textendash{}", "…": r"\ldots{}"}
)
_NEGATIVE = re.compile(r"(?<![\w)\]-])-(?=\d)")
# LaTeX makes one dash of several hyphens.
_HYPHENS = re.compile("-(?=-)")


class Bold(str):
    """A cell that is shown in bold."""


def as_markdown(table: Table) -> str:
    """Return a table in Markdown, its caption below."""
    alignment = ["---"] * table.names + ["---:"] * (len(table.columns) - table.names)
    lines = [_markdown_row(table.columns), f"|{'|'.join(alignment)}|", *map(_markdown_row, table.rows)]
    return "\n".join([*lines, "", _markdown(table.caption)]) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\g<0>", one_line(text))
    return f"**{escaped}**" if isinstance(text, Bold) else escaped


def as_latex(table: Table) -> str:
    """Return a table in LaTeX, its caption above; the document needs the package booktabs."""
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
    # After the end of a row, LaTeX would read these as arguments of that end.
    return f"    {'{}' if row.lstrip().startswith(('[', '*')) else ''}{row} \\\\"


def _latex(text: str) -> str:
    escaped = _HYPHENS.sub("-{}", _NEGATIVE.sub("$-$", one_line(text).translate(_LATEX)))
    return rf"\textbf{{{escaped}}}" if isinstance(text, Bold) else escaped


_WRITERS = {".tex": as_latex, ".md": as_markdown}


def table_file(text: str) -> str:
    """Read the name of a file for tables, for argparse."""
    if Path(text).suffix.lower() not in _WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends in {' or '.join(_WRITERS)}")
    return text


def write_table_file(path: Path, tables: Sequence[Table]) -> None:
    """Write tables one after the other, in the format that the file's name ends in."""
    write_text(path, "\n".join(map(_WRITERS[path.suffix.lower()], tables)))
