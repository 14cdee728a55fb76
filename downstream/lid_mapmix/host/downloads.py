"""Weights of named upstreams: read from S3PRL's cache, or downloaded to it, or an error that says what to put where.

S3PRL waits for a server without a timeout, accepts an incomplete response as the whole file, and saves a "not found"
page as weights, on which every later run fails. :func:`install` replaces its download by one without these faults. The
cache is S3PRL's, with its folder and file names.
"""

import contextlib
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path

from ..utils.errors import UserError
from ..utils.files import replace_when_complete
from .compat import import_without_unused

_TIMEOUT_SECONDS = 20.0
_is_allowed: ContextVar[bool] = ContextVar("downloads", default=True)


@contextlib.contextmanager
def allowed(is_allowed: bool) -> Iterator[None]:
    """Within the block, download weights only if the user, rather than a checkpoint, has named the upstream."""
    token = _is_allowed.set(is_allowed)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def are_allowed() -> bool:
    """Return whether the present block, see :func:`allowed`, may download weights."""
    return _is_allowed.get()


def install() -> None:
    """Replace S3PRL's download; a second call changes nothing."""
    import_without_unused("s3prl.util")
    from s3prl.util import download

    download._download = fetch


def fetch(filepath: Path | str, url: str, refresh: bool = False, new_enough_secs: float = 2.0) -> None:
    """Make a file available in the cache, in place of S3PRL's `_download`.

    Raises UserError: the file is not there and cannot, or must not, be downloaded.

    `filepath`: where the file is stored. `url`: where it is downloaded from. `refresh`: download it even if it is
    there, as requested by ``-r``. `new_enough_secs`: a younger file has just been downloaded by a process that started
    together with this one.
    """
    from filelock import FileLock

    path = Path(filepath)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file() and not (refresh and time.time() - path.stat().st_mtime > new_enough_secs):
            return
        if not _is_allowed.get():
            raise UserError(
                f"{url}: is not in S3PRL's cache, and is not downloaded because only a checkpoint names it. Download "
                f"it by 'curl -L -o {path} {url}', or name the upstream by -u (run_downstream.py -e)."
            )
        try:
            _fetch(path, url)
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(
                f"{url}: is not in S3PRL's cache and cannot be downloaded ({' '.join(str(reason).split())}). Download "
                f"it on another machine and save it as {path}"
            ) from error


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Return whether a server responds, with any status."""
    try:
        with urllib.request.urlopen(_request(url, method="HEAD"), timeout=seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, HTTPException):
        return False


def _fetch(path: Path, url: str) -> None:
    from tqdm import tqdm

    with urllib.request.urlopen(_request(url), timeout=_TIMEOUT_SECONDS) as answer, replace_when_complete(path) as part:
        length = answer.headers.get("Content-Length")
        expected = None if length is None else int(length)
        bar = tqdm.wrapattr(answer, "read", expected, desc=path.name[-40:], file=sys.stderr)
        with part.open("wb") as file, bar as source:
            shutil.copyfileobj(source, file)
        if expected is not None and part.stat().st_size != expected:
            raise OSError(f"the response ended after {part.stat().st_size} of {expected} bytes")


def _request(url: str, method: str = "GET") -> urllib.request.Request:
    return urllib.request.Request(url, headers={"User-Agent": "lid_mapmix"}, method=method)
