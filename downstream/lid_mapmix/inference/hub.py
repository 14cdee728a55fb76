"""Exports on the Hugging Face Hub: USER/NAME or USER/NAME@REVISION in place of a folder.

huggingface_hub finds server, token and cache (HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE). Nothing but the files of
an export is downloaded, and :func:`.read_export` checks them like those of any other folder.
"""

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..utils.errors import UserError, is_of_the_system
from ..utils.run_folder import RunFolder
from .exported import CONFIG_NAME, WEIGHTS_NAME, holds_export, read_config

_SMALL = [CONFIG_NAME, *(path.name for path in (RunFolder(Path()).calibration, RunFolder(Path()).card))]
EXPORT_FILES = [*_SMALL, WEIGHTS_NAME, RunFolder(Path()).novelty.name]
_BAR: Any = functools.partial(tqdm, disable=None)  # on terminals only
_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)


def find_folder(name: Path | str) -> Path:
    """Return the folder of a run or an export: a path, or else an export on the Hub, downloaded to the library's cache.

    Raises UserError: it does not exist there, cannot be downloaded, or is another model.
    """
    path, found = Path(name), _NAME.fullmatch(str(name))
    if found is None or path.exists():
        return path
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - takes a while to import

    with explained(f"{name}: expected a folder, or a model on"):
        # Small files first: a model of another kind may have gigabytes of weights.
        folder = Path(snapshot_download(found[1], revision=found[2], allow_patterns=_SMALL, tqdm_class=_BAR))
        try:
            read_config(folder / CONFIG_NAME)
        except UserError as error:
            raise UserError(f"{name}: expected an export of lid_mapmix, found another model ({error})") from None
        snapshot_download(found[1], revision=folder.name, allow_patterns=EXPORT_FILES, tqdm_class=_BAR)
    if not holds_export(folder):
        raise UserError(f"{name}: expected an export of lid_mapmix, found no {WEIGHTS_NAME}. Export the run again.")
    return folder


@contextlib.contextmanager
def explained(expected: str) -> Iterator[None]:
    """Raise a UserError of one line for errors of huggingface_hub. `expected`: its start, before the Hub's address."""
    from huggingface_hub import constants, errors, get_token  # noqa: PLC0415

    try:
        yield
    # huggingface_hub, its HTTP client and hf_xet have exceptions of their own.
    except Exception as error:
        if isinstance(error, UserError) or is_of_the_system(error):
            raise
        true = (isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and error.__cause__) or error
        whose = "the token may not read" if get_token() else "needs a token ('hf auth login')"
        reasons = {
            errors.OfflineModeIsEnabled: "it not in the cache, and HF_HUB_OFFLINE is set. Unset it to download it.",
            errors.RepositoryNotFoundError: f"none of this name, or a private one that {whose}. Check the name.",
            errors.RevisionNotFoundError: "no such revision. Name a branch, a tag or a commit after the @.",
        }
        other = f"{' '.join(str(true).split())[:300]}. Check the network, HF_ENDPOINT and the token ('hf auth whoami')."
        raise UserError(f"{expected} {constants.ENDPOINT}, found {reasons.get(type(true), other)}") from error
