"""Training audio that is skipped (data.on_bad_audio): counted, named in log.log and EXPDIR/bad_audio.csv, limited.

bad_audio.csv has a row an utterance, in the order in which they were met: its ``id``, ``audiopath`` and ``class``,
the ``epoch`` in which it was met first (empty where its header said so before training), and the ``fault``. Rows are
added to it one by one, as to a log: writing all of it anew at each fault would take the square of their number.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..data.dataset import Split
from ..utils.distributed import from_everyone, is_rank_zero
from ..utils.errors import UserError
from ..utils.files import write_text
from ..utils.run_folder import RunFolder
from .replacements import Fault

# Of what headers say; a corpus with a folder missing has thousands.
_MOST_LINES = 20
_NAMES = ("id", "audiopath", "class")


class _Found(NamedTuple):
    """The epoch in which a fault was met first, as text, and the fault."""

    epoch: str
    reason: str


class BadAudio:
    """The training utterances that are known to be bad.

    Parameters
    ----------
    folder : of the run.
    split : the training data.
    most_share : of its utterances; the run ends once more are bad.
    report : prints and logs a line.

    Raises
    ------
    UserError : by the headers alone too many are bad, or all of a class.
    """

    def __init__(self, folder: RunFolder, split: Split, most_share: float, report: Callable[[str], None]) -> None:
        self.path = folder.bad_audio
        self.split = split
        self.most_share = most_share
        self._report = report
        self._found = {utterance: _Found("", reason) for utterance, reason in split.faults.items()}
        self._check_share()
        heard = np.delete(split.gold, list(split.faults))
        lost = np.flatnonzero(~np.isin(split.gold, heard))
        if len(lost):
            raise UserError(
                f"{split.manifest.path}: no utterance of class {split.manifest.columns['class'][lost[0]]} can be read. "
                f"The first: {split.faults[int(lost[0])]}"
            )

    def reset(self) -> None:
        """Begin a new run: name what the headers said, and forget what an earlier run in the folder has left."""
        if is_rank_zero():
            self.path.unlink(missing_ok=True)
        for place, (utterance, found) in enumerate(self._found.items(), start=1):
            if place <= _MOST_LINES:
                self._tell(utterance, found, place)
        if len(self._found) > _MOST_LINES:
            self._report(f"headers: {len(self._found) - _MOST_LINES} more are skipped; {self.path} names all")
        self._write(self._found)

    def resume(self) -> None:
        """Go on with what an interrupted run has named.

        Raises
        ------
        UserError : that is too much; the limit may have been why it was interrupted.
        """
        by_headers = list(self._found)
        named = self._named()
        self._found = named | {each: found for each, found in self._found.items() if each not in named}
        self._write([utterance for utterance in by_headers if utterance not in named])
        self._check_share()

    def add(self, epoch: int, faults: Sequence[Fault]) -> None:
        """Take note of the faults that a step has met.

        Parameters
        ----------
        epoch : number of the epoch.
        faults : of the rows of this process; those of the others are brought together here.

        Raises
        ------
        UserError : in every process, once too many are bad.
        """
        new = {fault.utterance: fault.reason for fault in faults if fault.utterance not in self._found}
        told = []
        for utterance, reason in from_everyone(list(new.items())):
            if utterance not in self._found:
                self._found[utterance] = _Found(str(epoch), reason)
                self._tell(utterance, self._found[utterance], len(self._found))
                told.append(utterance)
        if told:
            self._write(told)
            self._check_share()

    def _tell(self, utterance: int, found: _Found, count: int) -> None:
        when = f"epoch {found.epoch}" if found.epoch else "headers"
        name = self.split.manifest.columns["id"][utterance]
        self._report(f"{when}: {name} is skipped ({count} of {len(self.split.manifest)}): {found.reason}")

    def _named(self) -> dict[int, _Found]:
        """Return what an interrupted run has written; a row that it was killed in is taken away."""
        if not self.path.is_file():
            return {}
        written = self.path.read_text(encoding="utf-8", errors="replace")
        text = written[: written.rfind("\n") + 1]
        if text != written and is_rank_zero():
            write_text(self.path, text)
        numbers = {name: number for number, name in enumerate(self.split.manifest.columns["id"].tolist())}
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return {numbers[row["id"]]: _Found(row["epoch"], row["fault"]) for row in rows if row["id"] in numbers}

    def _write(self, utterances: Iterable[int]) -> None:
        """Add rows to the file."""
        columns, text = self.split.manifest.columns, io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for utterance in utterances:
            writer.writerow([*(columns[name][utterance] for name in _NAMES), *self._found[utterance]])
        if not (is_rank_zero() and text.tell()):
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            if file.tell() == 0:
                csv.writer(file, lineterminator="\n").writerow([*_NAMES, "epoch", "fault"])
            file.write(text.getvalue())

    def _check_share(self) -> None:
        count, total = len(self._found), len(self.split.manifest)
        if count <= self.most_share * total:
            return
        first = self._found[min(self._found)]
        raise UserError(
            f"{self.split.manifest.path}: the audio of {count} of {total} utterances is bad, more than "
            f"data.most_bad_share ({self.most_share:g}) allows. Mend it, or allow more. The first: {first.reason}"
        )
