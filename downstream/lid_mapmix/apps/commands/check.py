"""``lid-mapmix check DATA``: what is wrong with a corpus, before an hour is spent on training.

The checks are in data/inspection/, and the numbers they decide by in data/inspection/thresholds.py.
"""

import argparse
import json
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...data.check.cleaning import DROPPED_NAME, LABELS_NAME, Cleaned, clean, refuse_what_is_there, write_cleaned
from ...data.check.corpus_check import Subject, check_corpus
from ...data.check.findings import Finding, Severity, count_errors, counted
from ...data.check.reading import read_headers, read_samples, spans
from ...data.check.utterances import SPLITS, Utterances, side_by_side
from ...data.labels import read_labels
from ...data.manifest.manifest import read_manifests
from ...utils.errors import UserError
from ...utils.files import replace_when_complete

_PRINTED = "-"
_WIDTH = 118
_EXAMPLES = """\
examples:
  headers and manifests, seconds for thousands of files:
    lid-mapmix check data/demo
  every sample as well, and the answer for a program:
    lid-mapmix check data/demo --deep --json report.json
  a folder without what is wrong, and training on it if it is safe:
    lid-mapmix check DATA --deep --fix DATA-clean && lid-mapmix run -u fbank --data DATA-clean

exit status:
  0  safe to train: no error; there may be warnings
  1  not safe: errors were found, or nothing could be checked; with --fix it speaks of the folder OUT
  2  wrong flags

What cannot be seen: audio whose header names a wrong rate, unless the header contradicts itself or the manifest has
exact lengths; the same recording coded anew, louder or shifted; a band limit under noise that was added later, or of
audio that was upsampled without a filter.
"""


def check_data(options: argparse.Namespace) -> None:
    """Check a corpus, and print or write what was found.

    Raises
    ------
    UserError : training is not safe; no such folder, a manifest that cannot be read, or something in the way of what
        is to be written.
    """
    folder = Path(options.data)
    report = None if options.json in (None, _PRINTED) else Path(options.json)
    if report is not None and report.exists():
        raise UserError(f"{report}: is there already. Name another file by --json, or take it away.")
    if options.fix:
        refuse_what_is_there(Path(options.fix))
    subject = _read(folder, options)
    findings = check_corpus(subject)
    left, cleaned = findings, None
    try:
        if options.fix:
            cleaned = clean(subject, findings)
            write_cleaned(Path(options.fix), subject, cleaned)
            left = check_corpus(cleaned.subject)
    except (UserError, OSError):
        # What was found is not lost with it: it may have taken hours.
        _tell(folder, options, subject, findings, cleaned=None, left=findings)
        raise
    _tell(folder, options, subject, findings, cleaned=cleaned, left=left)
    _refuse(Path(options.fix) if options.fix else folder, left, fixed=bool(options.fix))


def _tell(
    folder: Path,
    options: argparse.Namespace,
    subject: Subject,
    findings: list[Finding],
    *,
    cleaned: Cleaned | None,
    left: list[Finding],
) -> None:
    """Write the report, if there is to be one, and print the same or a table."""
    if options.json is not None:
        text = json.dumps(_summary(folder, subject, findings, cleaned, left), indent=1, ensure_ascii=False)
        if options.json == _PRINTED:
            print(text)
            return
        with replace_when_complete(options.json) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    print(_table(folder, subject, findings))
    if cleaned is not None:
        print(_cleaned_table(Path(options.fix), cleaned, left))


def _read(folder: Path, options: argparse.Namespace) -> Subject:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Name the one of train.csv, dev.csv and test.csv.")
    manifests = read_manifests(folder, SPLITS)
    labels = read_labels(folder / LABELS_NAME) if (folder / LABELS_NAME).exists() else None
    utterances = side_by_side(manifests)
    headers = read_headers(utterances, options.threads)
    samples = None
    if options.deep:
        samples = read_samples(utterances, headers, *spans(utterances, headers), options.threads)
    return Subject(utterances, labels, headers, samples)


def _refuse(folder: Path, findings: list[Finding], *, fixed: bool) -> None:
    errors = count_errors(findings)
    if errors:
        worst = ", ".join(one.name for one in findings[:errors])
        remedy = "Correct the data" if fixed else "Correct the data, or write a cleaned folder by --fix OUT"
        raise UserError(f"{folder}: not safe to train on: {worst}. {remedy}.")


def _table(folder: Path, subject: Subject, findings: list[Finding]) -> str:
    utterances = subject.utterances
    sizes = ", ".join(
        f"{np.count_nonzero(utterances.split == SPLITS.index(split))} {split}" for split in utterances.manifests
    )
    how = "headers only; --deep reads the samples" if subject.samples is None else "headers and samples"
    lines = [
        f"{folder}: {len(utterances)} utterances ({sizes}), {len(utterances.file.names)} files, "
        f"{utterances.seconds.sum() / 3600:.2f} h, {len(utterances.classes.names)} classes; {how}",
        "",
    ]
    width = max((len(one.name) for one in findings), default=0)
    for one in findings:
        lines.append(f"{one.kind.severity:<8} {one.name:<{width}} {counted(one.count, one.unit)}")
        lines += [
            line
            for text in (f"{one.kind.says}; {one.kind.remedy}", *one.examples)
            for line in textwrap.wrap(
                text, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 11, break_long_words=False
            )
        ]
    counts = Counter(one.kind.severity for one in findings)
    kinds = ", ".join(counted(counts[severity], str(severity)) for severity in Severity)
    lines.append(f"kinds of fault: {kinds}" if findings else "nothing found")
    return "\n".join(lines)


def _cleaned_table(folder: Path, cleaned: Cleaned, left: list[Finding]) -> str:
    dropped = Counter(reason for reason in cleaned.reasons.tolist() if reason)
    lines = ["", f"{folder}: {len(cleaned.subject.utterances)} utterances; dropped ({DROPPED_NAME} lists them):"]
    lines += [f"  {count:>8} {reason}" for reason, count in dropped.most_common()] or ["  nothing"]
    lines += [f"  renamed {old!r} to {new!r}" for old, new in cleaned.renamed.items()]
    warnings = [one.name for one in left if one.kind.severity is Severity.WARNING]
    lines += [f"  left as it is: {', '.join(warnings)}"] if warnings else []
    return "\n".join(lines)


def _summary(
    folder: Path, subject: Subject, findings: list[Finding], cleaned: Cleaned | None, left: list[Finding]
) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "data": str(folder),
        "deep": subject.samples is not None,
        "utterances": len(subject.utterances),
        "files": len(subject.utterances.file.names),
        "safe": count_errors(findings) == 0,
        "findings": [_record(one, subject.utterances) for one in findings],
    }
    if cleaned is not None:
        summary["cleaned"] = {
            "safe": count_errors(left) == 0,
            "utterances": len(cleaned.subject.utterances),
            "dropped": dict(Counter(reason for reason in cleaned.reasons.tolist() if reason)),
            "renamed": cleaned.renamed,
            "findings": [_record(one, cleaned.subject.utterances) for one in left],
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


def make_check_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix check``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix check",
        description="Look for what is wrong with a corpus before training on it. Changes nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of train.csv, dev.csv, test.csv and labels.yaml, as far as there are")
    add("--deep", action="store_true", help="decode all audio: silence, clipping, duplicates, band limits, …")
    add(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write all that was found as JSON, with the ids of all utterances of a fault; without FILE, print it in "
        "place of the table",
    )
    add("--fix", metavar="OUT", help="write a new folder without what is wrong, and what was dropped; audio stays")
    add(
        "--threads",
        type=_threads,
        default=os.cpu_count() or 1,
        metavar="N",
        help="that read audio; default: %(default)s",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 up")
    return int(text)
