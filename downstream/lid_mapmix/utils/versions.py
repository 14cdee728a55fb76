"""The installed packages against the lower bounds of setup.py: the usual reason why an import fails."""

import re
from importlib import metadata


def unmet_requirements() -> dict[str, str]:
    """Return requirement → what is installed instead, for example ``{"numpy>=2": "numpy 1.26.4"}``.

    A plain clone that was never installed has no requirements to read; the result is then empty.
    """
    try:
        requirements = metadata.requires("lid-mapmix") or []
    except metadata.PackageNotFoundError:
        return {}
    unmet = {}
    for requirement in requirements:
        lower = re.match(r"([\w.-]+)[^;]*>=([\d.]+)", requirement)
        if lower is None or "extra ==" in requirement:
            continue
        name, bound = lower.groups()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            unmet[f"{name}>={bound}"] = f"no {name}"
            continue
        if _numbers(found) < _numbers(bound):
            unmet[f"{name}>={bound}"] = f"{name} {found}"
    return unmet


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
