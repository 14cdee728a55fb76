"""The site of `make docs`: README.md, the pages of docs/ and an API reference from docstrings; built without network.

The sources are the folder of the repository, so that links are the same here as in the files themselves.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "downstream"))

import lid_mapmix

project = "lid_mapmix"
author = "the lid_mapmix authors"
copyright = "2026, the lid_mapmix authors"
release = lid_mapmix.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md"]
exclude_patterns = [".*", "build", "data", "result", "site"]  # they are large, and searched otherwise
html_theme = "furo"
html_title = f"lid_mapmix {release}"
html_copy_source = False
myst_heading_anchors = 3
default_role = "code"
# GitHub draws the Mermaid picture of architecture.md; the site shows its text, because drawing needs a remote script.
suppress_warnings = ["misc.highlighting_failure"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__"}

_PAGES = """

```{toctree}
:hidden:
:caption: Use

docs/data
docs/training
docs/upstreams
docs/datamap
docs/scores
docs/identify
docs/onnx
docs/leaderboard
docs/gallery
```

```{toctree}
:hidden:
:caption: Reference

docs/method
docs/paper
docs/results
docs/measured
docs/python
docs/s3prl
docs/architecture
CONTRIBUTING
CHANGELOG
```
"""
_FIELDS = {"Parameters": "param", "Attributes": "ivar", "Raises": "raises", "Returns": "returns", "Yields": "yields"}
_ITEM = re.compile(r"(\S[^:]*?) : (.*)")


def setup(app: Any) -> None:
    """Connect what follows to Sphinx."""
    app.connect("source-read", _add_pages)
    app.connect("autodoc-process-docstring", _translate_sections)
    app.connect("build-finished", _add_index)


def _add_pages(app: Any, name: str, source: list[str]) -> None:
    """Give the README the list of the pages, which a reader of the file itself has no use for."""
    if name == root_doc:
        source[0] += _PAGES


def _add_index(app: Any, error: Exception | None) -> None:
    """Let a web server find the README."""
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def _translate_sections(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn sections such as "Parameters" of a docstring, whose lines are ``name : text``, into Sphinx's fields."""
    translated: list[str] = []
    field = None
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line in _FIELDS and following and not following.strip("-"):
            field = _FIELDS[line]
            translated += [":returns:"] if field == "returns" else []
        elif field is None or (not line.strip("- ") and line):
            translated += [] if field else [line]
        elif (item := _ITEM.fullmatch(line)) and field not in ("returns", "yields"):
            translated += [f":{field} {one.strip(' *')}: {item[2]}" for one in item[1].split(",")]
        else:
            translated.append(f"    {line}" if line else "")
    lines[:] = translated
