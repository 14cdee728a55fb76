"""LaTeX tables as tests read them: cells as they are shown, once the structure is as booktabs has it."""

import re

# Each a single sign as it is shown, or a command of which nothing shows but a sign.
SIGNS = {
    **{f"\\{sign}": sign for sign in "&%$#_{}"},
    **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"},
    **{r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`"},
    **{r"$\pm$": "±", "$-$": "−", r"\textendash{}": "–", r"\ldots{}": "…", "-{}": "-"},
}
TOKEN = re.compile("|".join(map(re.escape, sorted(SIGNS, key=len, reverse=True))) + r"|-(?!-)|[^\\&%$#_{}~^<>|`±−–…-]")


def read_latex(text: str) -> list[list[str]]:
    """Return the cells of the only table, its head first; every row has its columns, every sign is text."""
    lines = text.removesuffix("\n").split("\n")
    assert lines[:2] == [r"\begin{table}", r"  \centering"] and lines[-2:] == [r"  \end{tabular}", r"\end{table}"]
    assert lines[2].startswith(r"  \caption{") and lines[2].endswith("}")
    shown(lines[2][len(r"  \caption{") : -1])
    alignment = re.fullmatch(r"  \\begin\{tabular\}\{(l+r*)\}", lines[3])[1]
    assert lines[4] == r"    \toprule" and lines[6] == r"    \midrule" and lines[-3] == r"    \bottomrule"
    rows = []
    for line in (lines[5], *lines[7:-3]):
        content = re.fullmatch(r"    (.*) \\\\", line)[1]
        assert not content.lstrip().startswith(("[", "*"))
        cells = content.removeprefix("{}").split(" & ")
        assert len(cells) == len(alignment)
        rows.append([shown(re.sub(r"^\\textbf\{(.*)\}$", r"\1", cell)) for cell in cells])
    return rows


def shown(text: str) -> str:
    """Return a text as LaTeX shows it, once nothing in it is more than text."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text, f"what LaTeX would read as more than text: {text}"
    return "".join(SIGNS.get(token, token) for token in tokens)
