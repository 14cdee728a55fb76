"""Words that must not appear in what a user reads: messages, help, docstrings, templates, comments of YAML, pages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.launching import ROOT

CHECKED = ("downstream/lid_mapmix", "upstream_configs", "bench", "README.md", "CHANGELOG.md", "docs")
_THINGS = (
    "anchor|batch|class|cluster|dialect|epoch|file|folder|group|language|line|row|run|segment|split|step|utterance"
)
_READ = (".py", ".yaml", ".html", ".jinja", ".md")
# Pattern → what to write instead.
FORBIDDEN = {
    r"likeness(?!\.csv)": "class similarity",
    r"\b(un)?heard\b": "read, unread, duration kept",
    r"\bmend(s|ed|ing)?\b": "patch, correct",
    r"\bstand(s|ing)?[- ]ins?\b": "replacement",
    r"\bby ear\b|\bin company\b": "the field's term",
    r"\bas often right as said\b": "perfect calibration",
    r"\bbelieve[sd]?\b": "calibrated",
    r"\b(go|goes|going|went) on\b": "resume, continue",
    r"\b(starts?|started|made|makes?|fit|computed?) (anew|afresh)\b": "restart, again",
    r"\bis there already\b|\bin the way\b": "exists already",
    r"\b(what|that) came of\b": "results",
    r"\bshares? of\b": "fraction of",
    r"\blikeliest\b": "most likely, most probable",
    r"\b(fingerprint|checksum)s?\b(?! +\()": "digest",  # a key of the files of an epoch has this name
    r"\bgold\b": "target class, truth",
    r"\b(tell|tells|telling|told) (\w+ )?apart\b": "identify, distinguish",
    rf"\b(one|most|hours|panels?|{_THINGS})s? an? ({_THINGS})\b": "per",
    r"\bof (ours|theirs)\b": "of lid_mapmix, of theirs: name it",
}


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the (line, text) of a file that a user may read, line by line."""
    content = path.read_text(encoding="utf-8") if path.suffix in _READ else ""
    if path.suffix == ".py":
        yield from _literals(ast.parse(content))
    elif path.suffix == ".yaml":
        comments = ((number, line.partition("#")) for number, line in enumerate(content.splitlines(), 1))
        yield from ((number, comment) for number, (_, sign, comment) in comments if sign)
    else:
        yield from enumerate(content.splitlines(), 1)


def _literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield string literals of more than a word, without docstrings of what is private."""
    private = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.startswith("_") and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and id(node) not in private
        ):
            yield from enumerate(node.value.splitlines(), node.lineno)


def findings(paths: list[Path]) -> list[str]:
    """Return a line for each forbidden word: file:line, the word, and what to write instead."""
    return [
        f"{path}:{number}: {found[0]!r}: write {instead}"
        for path in paths
        for number, text in texts_of(path)
        for pattern, instead in FORBIDDEN.items()
        if (found := re.search(pattern, text))
    ]


def test_what_a_user_reads_is_in_the_words_of_the_field():
    places = [ROOT / name for name in CHECKED]
    paths = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    assert paths
    found = findings([path for path in paths if path.is_file()])
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.py", 'x = 1\nraise UserError(f"{x}: is mended.")\n', 2),
        ("a.py", 'def public():\n    """Return it.\n\n    By a stand-in for it.\n    """\n', 4),
        ("a.py", 'add("--x", help="utterances a class")\n', 1),
        ("a.yaml", "a: 1\nb: 2  # the share of all\n", 2),
        ("a.html", "<p>\nwhat is heard</p>\n", 2),
        ("a.md", "# Page\n\nIt goes on.\n", 3),
    ],
)
def test_a_forbidden_word_is_found_with_its_line(tmp_path, name, content, line):
    (tmp_path / name).write_text(content)
    (found,) = findings([tmp_path / name])
    assert found.startswith(f"{tmp_path / name}:{line}: ")


@pytest.mark.parametrize(
    "content", ['def _private():\n    """It is mended."""\n', "mended = heard(likeness)\n", 'x = {"gold": 1}\n']
)
def test_names_and_private_docstrings_are_not_read(tmp_path, content):
    (tmp_path / "a.py").write_text(content)
    assert not findings([tmp_path / "a.py"])
