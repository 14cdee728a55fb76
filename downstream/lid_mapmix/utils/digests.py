"""Digests (SHA-256) of files and weights."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

# Smaller files are read quickly, and may change twice within the resolution of their modification time.
_LARGE_BYTES = 10_000_000
# Files of a folder written by save_pretrained.
_WEIGHTS_SUFFIXES = (".json", ".safetensors", ".bin")


def weights_digest(weights: str | None) -> str | None:
    """Return a digest of the content of -k, a file or a folder; None for an address, or without -k."""
    path = Path(weights) if weights else None
    if path is None or not path.is_dir():
        return None if path is None else file_digest(path)
    files = {each.name: file_digest(each) for each in sorted(path.iterdir()) if each.suffix in _WEIGHTS_SUFFIXES}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content; None if there is no such file."""
    if not path.is_file():
        return None
    found = path.stat()
    if found.st_size == 0:  # without reading, because some files of /proc have no size and no end
        return hashlib.sha256().hexdigest()
    if found.st_size < _LARGE_BYTES:
        return _digest(path)
    return _kept_digest(path.resolve(), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache
def _kept_digest(path: Path, *_version: int) -> str:
    """Return the digest of a large file; a leaderboard asks for that of the same weights once per run."""
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
