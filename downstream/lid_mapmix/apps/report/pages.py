"""What the HTML pages of runs and of grids have in common: how templates are read, and the style sheet."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_COMMON = Path(__file__).parent


def template_environment(folder: Path) -> Environment:
    """Return the environment of a page: text is escaped, unknown names are errors, head.html can be included.

    Parameters
    ----------
    folder : of the page's template.
    """
    return Environment(
        loader=FileSystemLoader([folder, _COMMON]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style_sheets(paths: Sequence[Path]) -> Markup:
    """Return style sheets of ours, which need no escaping, one after the other."""
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in paths))
