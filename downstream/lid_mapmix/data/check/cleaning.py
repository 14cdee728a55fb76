"""A corpus without the faults that a check found: which utterances are kept, and the folder written from them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ...utils.digests import file_digest
from ...utils.errors import UserError
from ...utils.files import folder_when_complete, write_csv
from .. import LABELS_FILE, SPLITS
from ..audio.lengths import record_lengths
from ..audio.spans import cut_to_audio
from ..labels import Labels, labels_from_names, write_labels
from ..manifest.columns import TEXT
from ..manifest.manifest import Manifest, write_manifest
from .audio_checks import check_headers, check_samples
from .column_checks import check_classes, check_duplicates, check_leaks, count_names, numbered, renamings
from .findings import Finding
from .subject import Subject, Utterances

DROPPED_FILE = "dropped.csv"
_KEPT = ""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """The kept part of a corpus."""

    subject: Subject  # the kept utterances, with unified class names
    reasons: np.ndarray  # (utterances,) str, why each utterance of the original was dropped; empty if it is kept
    renamed: dict[str, str]  # old class name → new one
    shortened: int  # number of utterances that ended just after their audio

    def count_reasons(self) -> Counter[str]:
        """Return reason → number of utterances dropped for it."""
        return Counter(reason for reason in self.reasons.tolist() if reason != _KEPT)


def clean(subject: Subject) -> Cleaned:
    """Drop faulty utterances in this order, so that none is dropped because of one that is dropped already: utterances
    with a fault of their own, duplicates and shared speakers, groups and recordings, classes that are not trained.

    Before that, repeated ids are numbered, utterances that end just after their audio are shortened, and different
    spellings of a class name are unified.
    """
    utterances, shortened = _shortened(replace(subject, utterances=_numbered(subject.utterances)))
    subject = replace(subject, utterances=utterances)
    renamed = renamings(count_names(subject.utterances, subject.labels))
    subject = _rename(subject, renamed)
    reasons = np.full(len(subject.utterances), _KEPT, dtype="<U32")
    for check in (
        lambda left: chain(check_headers(left), check_samples(left)),
        lambda left: _class_findings(left, "unknown class"),
        lambda left: check_duplicates(left.utterances, left.content_numbers()),
        lambda left: check_leaks(left.utterances),
        lambda left: _class_findings(left, "class not trained"),
    ):
        kept = reasons == _KEPT
        _drop(reasons, np.flatnonzero(kept), check(subject.select(kept)))
    left = subject.select(reasons == _KEPT)
    return Cleaned(replace(left, labels=_labels_of(left)), reasons, renamed, shortened)


def _numbered(utterances: Utterances) -> Utterances:
    manifests = {}
    for split, manifest in utterances.manifests.items():
        ids = np.array(numbered(manifest.columns["id"].tolist()), dtype=TEXT)
        manifests[split] = replace(manifest, columns={**manifest.columns, "id": ids})
    return replace(utterances, manifests=manifests)


def _shortened(subject: Subject) -> tuple[Utterances, int]:
    """Return the utterances without ends that are up to 0.5 s after the audio, and the number of changed ones."""
    utterances, headers = subject.utterances, subject.headers
    seconds = np.where(headers.sample_rate > 0, headers.frames / np.maximum(headers.sample_rate, 1), np.nan)
    available = seconds[utterances.file.codes]
    ends, seconds, is_cut = cut_to_audio(utterances.start, utterances.end, utterances.seconds, available)
    return replace(utterances, end=ends, seconds=seconds), int(np.count_nonzero(is_cut))


def refuse_what_is_there(folder: Path) -> None:
    """Check that writing a folder would not replace anything. Raises UserError: it has files, or is a file itself."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already. Name a new or empty folder by --out.")


def write_cleaned(folder: Path, original: Subject, cleaned: Cleaned) -> None:
    """Write the manifests of the kept utterances, labels.yaml, and dropped.csv: split, id, reason. Copies no audio.

    The folder is complete or absent.

    Raises UserError: the folder has files, or a split would be empty.
    """
    refuse_what_is_there(folder)
    for split, number in ((split, SPLITS.index(split)) for split in original.utterances.manifests):
        if not (cleaned.subject.utterances.split == number).any():
            raise UserError(f"{folder}: expected utterances to keep in {split}, found none. Correct the data first.")
    utterances, headers = cleaned.subject.utterances, cleaned.subject.headers
    dropped = np.flatnonzero(cleaned.reasons != _KEPT)
    try:
        with folder_when_complete(folder) as temporary:
            rows = ((*original.utterances.split_and_id(row), cleaned.reasons[row]) for row in dropped.tolist())
            write_csv(temporary / DROPPED_FILE, ("split", "id", "reason"), rows)
            if cleaned.subject.labels is not None:
                write_labels(temporary / LABELS_FILE, cleaned.subject.labels)
            for split, manifest in utterances.manifests.items():
                mine = utterances.split == SPLITS.index(split)
                columns = _columns(manifest, utterances.select(mine), folder)
                path, file = temporary / f"{split}.csv", utterances.file.codes[mine]
                write_manifest(path, columns)
                record_lengths(Manifest(path, columns, file_digest(path) or ""), headers.samples[file])
    except OSError:
        # Another command may have written there in the meantime.
        refuse_what_is_there(folder)
        raise


def _columns(manifest: Manifest, kept: Utterances, folder: Path) -> dict:
    columns = {name: values[kept.row] for name, values in manifest.columns.items()}
    columns |= {"class": kept.classes.names[kept.classes.codes], "seconds": kept.seconds}
    columns["audiopath"] = manifest.audiopaths_from(folder)[kept.row]
    return columns | {name: getattr(kept, name) for name in ("start", "end") if name in columns}


def _class_findings(subject: Subject, name: str) -> Iterator[Finding]:
    return (one for one in check_classes(subject.utterances, subject.labels) if one.name == name)


def _drop(reasons: np.ndarray, kept: np.ndarray, findings: Iterable[Finding]) -> None:
    """Record in `reasons` why utterances are dropped; the first counts. `kept`: numbers that the rows index."""
    for finding in findings:
        rows = kept[finding.rows]
        reasons[rows[reasons[rows] == _KEPT]] = finding.name


def _rename(subject: Subject, renamed: dict[str, str]) -> Subject:
    utterances = subject.utterances.rename_classes(renamed)
    if subject.labels is None:
        return replace(subject, utterances=utterances)
    # Each class stays in the first cluster that lists it.
    cluster_of: dict[str, str] = {}
    for cluster, members in subject.labels.clusters.items():
        for name in members:
            cluster_of.setdefault(renamed.get(name, name), cluster)
    clusters: dict[str, tuple[str, ...]] = {}
    for name, cluster in cluster_of.items():
        clusters[cluster] = (*clusters.get(cluster, ()), name)
    return replace(subject, utterances=utterances, labels=Labels(clusters))


def _labels_of(subject: Subject) -> Labels | None:
    """Return the labels of the kept utterances; classes without training data are not outputs of a model."""
    utterances = subject.utterances
    trained = utterances.split == SPLITS.index("train")
    if not trained.any():
        return subject.labels
    names = utterances.classes.names[np.unique(utterances.classes.codes[trained])]
    if subject.labels is None:
        return labels_from_names(names.tolist())
    return subject.labels.only(names.tolist())
