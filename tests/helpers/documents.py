"""What README.md and the pages of docs/ say: their commands, their links and their headings."""

import re
from collections.abc import Iterator
from pathlib import Path

from helpers.launching import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page's blocks of shell, those that go on over lines as one; comments stay."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield from filter(None, block.replace("\\\n", " ").splitlines())


def links(page: Path) -> list[str]:
    """Return where a page's links lead."""
    return _LINK.findall(_without_code(page))


def anchors(page: Path) -> set[str]:
    """Return the names by which links reach a page's headings, as GitHub makes them."""
    titles = _HEADING.findall(_without_code(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _without_code(page: Path) -> str:
    return _CODE.sub("", page.read_text(encoding="utf-8"))
