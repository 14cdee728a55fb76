"""Export of manifests: Lhotse's recordings and supervisions for other toolkits, and Parquet for this package.

``lid-mapmix prepare lhotse`` reads the former again. Audio paths are absolute.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...utils.errors import UserError
from .. import LABELS_FILE, SPLITS
from ..audio.reading import SAMPLE_RATE, read_header
from ..audio.shards import find_member
from ..audio.spans import utterance_spans
from ..labels import read_labels, write_labels
from ..manifest.columns import Names, iterate
from ..manifest.manifest import PARQUET, Manifest, read_manifests
from ..manifest.parquet_format import write_parquet
from ..prepare.lhotse import OWN_FIELDS, RECORDINGS, SUPERVISIONS, require_lhotse
from ..prepare.steps.prepared_folder import cannot_write
from . import ManifestForm

# The files of a split.
_FILES = {
    ManifestForm.LHOTSE: [f"{kind}_{{}}.jsonl.gz" for kind in (RECORDINGS, SUPERVISIONS)],
    ManifestForm.PARQUET: ["{}" + PARQUET],
}


def export_manifests(data: Path, target: ManifestForm, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write every manifest of a folder in another format, and return the files.

    Raises UserError: no manifest, a fault in one, files that already exist, or a package that is not installed; for
    ``lhotse``, also audio in shards, or with a fault that its header shows.

    `data`: the folder with train.csv, dev.csv and test.csv, or some of them. `target`: ``lhotse`` writes
    FOLDER/recordings_SPLIT.jsonl.gz and FOLDER/supervisions_SPLIT.jsonl.gz; ``parquet`` writes FOLDER/SPLIT.parquet for
    this package. labels.yaml is copied if there is one.
    """
    manifests = read_manifests(data, SPLITS)
    labels = read_labels(data / LABELS_FILE) if (data / LABELS_FILE).is_file() else None
    if target == ManifestForm.LHOTSE:
        require_lhotse(folder)
    text = [path for split in SPLITS if (path := folder / f"{split}.csv").is_file()]
    if text and target == ManifestForm.PARQUET:
        raise UserError(f"{text[0]}: already exists; a folder has one manifest per split. Use another folder by --out.")
    path = folder / LABELS_FILE
    if path.is_file() and (labels is None or [*read_labels(path).clusters.items()] != [*labels.clusters.items()]):
        raise UserError(
            f"{path}: expected the labels of the exported corpus, found others. Use another folder, or delete it."
        )
    # Files of an earlier export that this one does not write would be read as a part of it.
    possible = (folder / name.format(split) for split in SPLITS for name in _FILES[target])
    present = [path for path in possible if path.exists()]
    if present and not overwrite:
        raise UserError(f"{present[0]}: already exists. Use another folder, or replace it by --overwrite.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as temporary:
            for split, manifest in manifests.items():
                paths = [Path(temporary, name.format(split)) for name in _FILES[target]]
                if target == ManifestForm.PARQUET:
                    # Text, because millions of Path objects are slow.
                    audio = [os.path.join(data, path) for path in iterate(manifest.columns["audiopath"])]  # noqa: PTH118
                    write_parquet(paths[0], {**manifest.columns, "audiopath": list(map(os.path.abspath, audio))})
                else:
                    _write_lhotse(manifest, *paths)
            if labels is not None:
                write_labels(Path(temporary, LABELS_FILE), labels)
            written = [path.replace(folder / path.name) for path in sorted(Path(temporary).iterdir())]
        for path in set(present) - set(written):
            path.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from None
    return written


def _write_lhotse(manifest: Manifest, recordings_path: Path, supervisions_path: Path) -> None:
    """Write the recordings and supervisions of a split. Raises UserError: a fault in a header of the audio."""
    from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet  # noqa: PLC0415

    starts, lengths = (samples / SAMPLE_RATE for samples in utterance_spans(manifest))
    names = ("audiopath", "id", "class", "speaker", *OWN_FIELDS)
    audio, ids, classes, speakers, *others = map(manifest.text_column, names)
    recording = None
    with (
        RecordingSet.open_writer(recordings_path) as recordings,
        SupervisionSet.open_writer(supervisions_path) as supervisions,
    ):
        # Supervisions in the order of their recordings: Lhotse can make cuts of them without reading all to memory.
        for row in np.argsort(Names.of(audio).codes, kind="stable").tolist():
            if recording is None or recording.id != audio[row]:
                path = manifest.audio_path(row)
                if find_member(path) and not path.is_file():
                    raise UserError(
                        f"{path}: expected an audio file, found a member of a shard. Export the folder that was packed."
                    )
                header = read_header(path)
                source = AudioSource("file", list(range(header.channels)), os.path.abspath(path))  # noqa: PTH100
                seconds = header.frames / header.sample_rate
                recording = Recording(audio[row], [source], header.sample_rate, header.frames, seconds)
                recordings.write(recording)
            segment = SupervisionSegment(
                ids[row],
                recording.id,
                starts[row],
                # The length at 16 kHz is rounded up.
                round(min(lengths[row], recording.duration - starts[row]), 8),
                channel=0 if recording.num_channels == 1 else recording.channel_ids,
                language=classes[row],
                speaker=speakers[row] or None,
                custom={key: value[row] for key, value in zip(OWN_FIELDS, others, strict=True) if value[row]} or None,
            )
            supervisions.write(segment)
