"""Skipped training audio (data.on_bad_audio): counted, reported in log.log and RUN/bad_audio.csv, and limited.

bad_audio.csv has one row per utterance, in the order of discovery: its ``id``, ``audiopath`` and ``class``, the
``epoch`` in which it was found (empty if its header showed the fault before training), and the ``fault``. Rows are
appended, as to a log: rewriting the file at each fault would take quadratic time.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..data.dataset import Split
from ..utils.distributed import gather_items, is_rank_zero
from ..utils.errors import UserError
from ..utils.files import write_text
from ..utils.run_folder import RunFolder
from .train_dataset import Fault

# Lines for faults in headers; a corpus with a missing folder has thousands.
_MAX_LINES = 20
_NAMES = ("id", "audiopath", "class")


class _Found(NamedTuple):
    """The epoch in which a fault was found, as text, and the fault."""

    epoch: str
    reason: str


class BadAudio:
    """The training utterances with bad audio. Raises UserError: by the headers, too many or all of a class are.

    `max_fraction`: of the training utterances; the run ends when more have bad audio. `report`: prints and logs a line.
    """

    def __init__(self, folder: RunFolder, split: Split, max_fraction: float, report: Callable[[str], None]) -> None:
        self.path = folder.bad_audio
        self.split = split
        self.max_fraction = max_fraction
        self._report = report
        self._found = {utterance: _Found("", reason) for utterance, reason in split.faults.items()}
        self._check_fraction()
        readable = np.delete(split.target_classes, list(split.faults))
        lost = np.flatnonzero(~np.isin(split.target_classes, readable))
        if len(lost):
            raise UserError(
                f"{split.manifest.path}: expected readable audio for class "
                f"{split.manifest.columns['class'][lost[0]]}, found none. Correct the audio, or remove the class. "
                f"The first fault: {split.faults[int(lost[0])]}"
            )

    def reset(self) -> None:
        """Start a new run: report the faults in headers, and delete the file of an earlier run."""
        if is_rank_zero():
            self.path.unlink(missing_ok=True)
        for place, (utterance, found) in enumerate(self._found.items(), start=1):
            if place <= _MAX_LINES:
                self._report_fault(utterance, found, place)
        if len(self._found) > _MAX_LINES:
            self._report(f"headers: {len(self._found) - _MAX_LINES} more are skipped; {self.path} lists all of them")
        self._write(self._found)

    def resume(self) -> None:
        """Add the faults that an interrupted run has found.

        Raises UserError: too many are bad, which may be why the run was interrupted.
        """
        by_headers = list(self._found)
        named = self._named()
        self._found = named | {each: found for each, found in self._found.items() if each not in named}
        self._write([utterance for utterance in by_headers if utterance not in named])
        self._check_fraction()

    def add(self, epoch: int, faults: Sequence[Fault]) -> None:
        """Add the faults of a training step, which are gathered from all processes.

        Raises UserError: in every process, when too many are bad.
        """
        new = {fault.utterance: fault.reason for fault in faults if fault.utterance not in self._found}
        told = []
        for utterance, reason in gather_items(list(new.items())):
            if utterance not in self._found:
                self._found[utterance] = _Found(str(epoch), reason)
                self._report_fault(utterance, self._found[utterance], len(self._found))
                told.append(utterance)
        if told:
            self._write(told)
            self._check_fraction()

    def _report_fault(self, utterance: int, found: _Found, count: int) -> None:
        when = f"epoch {found.epoch}" if found.epoch else "headers"
        name = self.split.manifest.columns["id"][utterance]
        self._report(f"{when}: {name} is skipped ({count} of {len(self.split.manifest)}): {found.reason}")

    def _named(self) -> dict[int, _Found]:
        """Return the faults in the file of an interrupted run; an incomplete last row is deleted."""
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
        """Append rows to the file."""
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

    def _check_fraction(self) -> None:
        count, total = len(self._found), len(self.split.manifest)
        if count <= self.max_fraction * total:
            return
        first = self._found[min(self._found)]
        raise UserError(
            f"{self.split.manifest.path}: the audio of {count} of {total} utterances is bad, more than "
            f"data.max_bad_fraction ({self.max_fraction:g}) allows. Correct the audio, or raise the limit. The first "
            f"fault: {first.reason}"
        )
