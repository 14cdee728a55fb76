"""The size of the package and its imports: names at its root, modules and lines, imports between folders.

    .venv/bin/python bench/rooms.py

A room is a folder with modules, or a single module at the root. An arrow leads from a room to one that it imports. The
rules that `make imports` checks are in pyproject.toml.
"""

from pathlib import Path

import grimp
import lid_mapmix

_ROOT = Path(lid_mapmix.__file__).parent
_PACKAGE = "lid_mapmix"


def main() -> None:
    """Print the figures, a line per room."""
    graph = grimp.build_graph(_PACKAGE)
    rooms: dict[str, list[str]] = {}
    for module in sorted(graph.modules):
        rooms.setdefault(_room(module), []).append(module)
    arrows = {
        (_room(module), _room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if _room(module) != _room(imported)
    }
    names = {path.name for path in _ROOT.iterdir()} - {"__init__.py", "__main__.py", "__pycache__"}
    lines = {module: len(_path(module).read_text(encoding="utf-8").splitlines()) for module in graph.modules}
    print(f"{'room':28}{'modules':>8}{'lines':>8}  imports")
    for room, modules in rooms.items():
        imported = ", ".join(sorted(to for start, to in arrows if start == room))
        print(f"{room:28}{len(modules):>8}{sum(lines[module] for module in modules):>8}  {imported}")
    print(f"\n{len(names)} names at the root: {', '.join(sorted(names))}")
    print(f"{len(lines)} modules, {sum(lines.values()):,} lines, {len(rooms)} rooms, {len(arrows)} arrows between them")


def _path(module: str) -> Path:
    path = _ROOT.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _room(module: str) -> str:
    """Return the folder that a module lies in, or a module at the root itself."""
    is_folder = _path(module).name == "__init__.py"
    inner = module.split(".")[1:]
    return ".".join(inner if is_folder else inner[:-1] or inner) or "(root)"


if __name__ == "__main__":
    main()
