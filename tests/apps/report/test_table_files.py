"""Tables for papers: a case worked by hand, and LaTeX taken apart again for names of any signs."""

import argparse
import re

import pytest
from helpers.latex import read_latex
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.apps.report.table_files import Bold, as_latex, as_markdown, table_file, write_table_file
from lid_mapmix.apps.report.tables import Table

TABLE = Table(
    "Bold: p < 0.05, 95 % intervals",
    ["upstream", "variant", "C_primary"],
    [["fbank", "latent_random", Bold("0.619 ± 0.020")], ["a|b & c", "[x]", "-0.016"]],
    names=2,
)


def test_latex_worked_by_hand():
    assert as_latex(TABLE).splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \caption{Bold: p \textless{} 0.05, 95 \% intervals}",
        r"  \begin{tabular}{llr}",
        r"    \toprule",
        r"    upstream & variant & C\_primary \\",
        r"    \midrule",
        r"    fbank & latent\_random & \textbf{0.619 $\pm$ 0.020} \\",
        r"    a\textbar{}b \& c & [x] & $-$0.016 \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


def test_markdown_worked_by_hand():
    assert as_markdown(TABLE).splitlines() == [
        "| upstream | variant | C_primary |",
        "|---|---|---:|",
        "| fbank | latent_random | **0.619 ± 0.020** |",
        r"| a\|b & c | [x] | -0.016 |",
        "",
        "Bold: p < 0.05, 95 % intervals",
    ]


@given(st.lists(st.lists(st.text("ab\\&%$#_{}~^<>|[]*-`±–…\n1 "), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_name_stays_text_and_every_row_has_its_columns(rows):
    table = Table(rows[0][0], rows[0], rows[1:])
    for row, read in zip(rows, read_latex(as_latex(table)), strict=True):
        for cell, found in zip(row, read, strict=True):
            # A hyphen before a number is shown as a minus.
            assert found.replace("−", "-") == cell.replace("\n", "\\n").replace("−", "-")
    for line in as_markdown(table).splitlines()[: len(rows) + 1]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4


def test_a_row_begins_with_no_argument_of_the_row_before():
    latex = as_latex(Table("", ["", "acc"], [["[a]", "1"], ["*", "2"]]))
    assert [line.strip() for line in latex.splitlines()[7:9]] == [r"{}[a] & 1 \\", r"{}* & 2 \\"]


def test_the_ending_chooses_the_format(tmp_path):
    for name, start in (("x.tex", "\\begin{table}"), ("x.MD", "| upstream |")):
        write_table_file(tmp_path / table_file(name), [TABLE, TABLE])
        assert (tmp_path / name).read_text().startswith(start)
        assert (tmp_path / name).read_text().count("latent") == 2
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a name that ends in \.tex or \.md"):
        table_file("x.csv")
