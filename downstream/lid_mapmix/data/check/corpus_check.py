"""All checks of a corpus, and their findings as a table and as JSON."""

import textwrap
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError
from ...utils.one_line import one_line
from .. import SPLITS
from ..audio.lengths import record_lengths
from .audio_checks import check_bands, check_headers, check_samples
from .cleaning import DROPPED_FILE, Cleaned, clean, write_cleaned
from .column_checks import check_classes, check_duplicates, check_ids, check_leaks, check_splits
from .findings import Finding, Severity, count_errors, counted, in_order
from .subject import Subject, Utterances

_WIDTH = 118


def check_corpus(subject: Subject) -> list[Finding]:
    """Return all findings for a corpus, the most severe first."""
    utterances = subject.utterances
    found = chain(
        check_headers(subject),
        check_samples(subject),
        check_bands(subject),
        check_ids(utterances),
        check_duplicates(utterances, subject.content_numbers()),
        check_leaks(utterances),
        check_splits(utterances),
        check_classes(utterances, subject.labels),
    )
    return in_order(found)


@dataclass(frozen=True, eq=False)
class CheckedFolder:
    """A folder, its content, and the findings."""

    path: Path  # of the folder
    subject: Subject
    findings: list[Finding]  # the most severe first
    # The kept part, and the folder written from it, checked again; None unless it was written.
    fixed: "tuple[Cleaned, CheckedFolder] | None" = None

    @classmethod
    def of(cls, path: Path, subject: Subject) -> "CheckedFolder":
        """Check the content of a folder."""
        return cls(path, subject, check_corpus(subject))

    def fix(self, path: Path) -> "CheckedFolder":
        """Write and check a folder without the faulty utterances; return this folder with that as `fixed`."""
        cleaned = clean(self.subject)
        write_cleaned(path, self.subject, cleaned)
        return replace(self, fixed=(cleaned, CheckedFolder.of(path, cleaned.subject)))

    def record_lengths(self) -> None:
        """Record the lengths of the audio beside the manifests, so that training need not read all headers."""
        utterances = self.subject.utterances
        lengths = self.subject.headers.samples[utterances.file.codes]
        for split, manifest in utterances.manifests.items():
            record_lengths(manifest, lengths[utterances.split == SPLITS.index(split)])

    def refuse_errors(self) -> None:
        """Raise a UserError if the fixed folder, or this one if there is none, is not safe to train on."""
        judged = self.fixed[1] if self.fixed else self
        errors = count_errors(judged.findings)
        if errors:
            worst = ", ".join(one.name for one in judged.findings[:errors])
            remedy = "Correct the data" + ("" if self.fixed else ", or write a cleaned folder by --fix --out DIR")
            raise UserError(f"{judged.path}: not safe to train on: {worst}. {remedy}.")

    def table(self) -> str:
        """Return the findings, and what was dropped, as lines of text."""
        utterances = self.subject.utterances
        sizes = ", ".join(
            f"{np.count_nonzero(utterances.split == SPLITS.index(split))} {split}" for split in utterances.manifests
        )
        how = "headers only; add --deep to read samples" if self.subject.samples is None else "headers and samples"
        lines = [
            f"{self.path}: {len(utterances)} utterances ({sizes}), {len(utterances.file.names)} files, "
            f"{utterances.seconds.sum() / 3600:.2f} h, {len(utterances.classes.names)} classes; {how}",
            "",
        ]
        width = max((len(one.name) for one in self.findings), default=0)
        for one in self.findings:
            lines.append(f"{one.kind.severity:<8} {one.name:<{width}} {counted(one.count, one.unit)}")
            lines += [
                line
                for text in (f"{one.kind.says}; {one.kind.remedy}", *map(one_line, one.examples))
                for line in textwrap.wrap(
                    text, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 11, break_long_words=False
                )
            ]
        counts = Counter(one.kind.severity for one in self.findings)
        kinds = ", ".join(counted(counts[severity], str(severity)) for severity in Severity)
        lines.append(f"kinds of fault: {kinds}" if self.findings else "nothing found")
        if self.fixed:
            cleaned, copy = self.fixed
            kept = len(copy.subject.utterances)
            lines += ["", f"{copy.path}: {kept} utterances; dropped ({DROPPED_FILE} lists them):"]
            dropped = cleaned.count_reasons().most_common()
            lines += [f"  {count:>8} {reason}" for reason, count in dropped] or ["  nothing"]
            lines += [f"  shortened {cleaned.shortened} to the end of their audio"] * bool(cleaned.shortened)
            lines += [f"  renamed {old!r} to {new!r}" for old, new in cleaned.renamed.items()]
            warnings = [one.name for one in copy.findings if one.kind.severity is Severity.WARNING]
            lines += [f"  not fixed: {', '.join(warnings)}"] if warnings else []
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Return everything for JSON, with the ids of all utterances of each finding."""
        summary = {
            "data": str(self.path),
            "deep": self.subject.samples is not None,
            "utterances": len(self.subject.utterances),
            "files": len(self.subject.utterances.file.names),
            "safe": count_errors(self.findings) == 0,
            "findings": [_record(one, self.subject.utterances) for one in self.findings],
        }
        if self.fixed:
            cleaned, copy = self.fixed
            summary["cleaned"] = {
                "safe": count_errors(copy.findings) == 0,
                "utterances": len(copy.subject.utterances),
                "dropped": dict(cleaned.count_reasons()),
                "renamed": cleaned.renamed,
                "shortened": cleaned.shortened,
                "findings": [_record(one, copy.subject.utterances) for one in copy.findings],
            }
        return summary


def _record(finding: Finding, utterances: Utterances) -> dict[str, Any]:
    kind = finding.kind
    return {
        "severity": str(kind.severity),
        "name": finding.name,
        "count": finding.count,
        "unit": finding.unit,
        "says": kind.says,
        "remedy": kind.remedy,
        "examples": list(finding.examples),
        "utterances": utterances.ids(finding.rows if finding.seen_in is None else finding.seen_in),
        "figures": finding.figures,
    }
