"""Packing of a prepared corpus into tar shards: ``lid-mapmix pack DATA OUT``.

A folder of millions of small files is slow to copy, to list and to read for the first time. OUT has the manifests of
DATA, row by row, with members of OUT/SPLIT-NNNNNN.tar as audiopath (data/audio/shards.py), and its labels.yaml.
A run on OUT is the same as a run on DATA. Each shard is also a valid WebDataset: members NNNNNNNN.wav (or another
extension) and NNNNNNNN.json, which has the manifest's rows of that file under ``utterances``.

OUT is complete or absent. Audio files are packed unchanged.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

import soundfile
from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.files import folder_when_complete, write_text
from .. import LABELS_FILE, SPLITS
from ..audio.lengths import lengths_path
from ..audio.reading import AudioHeader, examine, read_header, reason
from ..audio.shards import member_path, read_content
from ..audio.silence import silent_decoder
from ..audio.spans import utterance_spans
from ..labels import labels_from_manifest, read_labels, write_labels
from ..manifest.manifest import Manifest, read_manifests, write_manifest
from . import DEFAULT_SHARD_BYTES

PACKED_FILE = "packed.json"
# Extensions that differ from libsndfile's name of the format.
_EXTENSIONS = {"NIST": "sph", "WAVEX": "wav"}


@dataclass
class Summary:
    """Summary of a pack: numbers of utterances, files and shards, and the bytes of the audio."""

    utterances: int
    files: int
    shards: int
    audio_bytes: int


def pack(data: Path, out: Path, *, shard_bytes: int = DEFAULT_SHARD_BYTES, overwrite: bool = False) -> Summary:
    """Pack a folder of manifests and their audio.

    Raises UserError: no manifest, a fault in one, damaged audio, or `out` has files already.

    `data`: folder with train.csv, dev.csv and test.csv, or some of them, and labels.yaml if there is one.
    `shard_bytes`: maximum size of a shard; a larger file has a shard of its own. `overwrite`: replace an earlier pack;
    a folder with other files is refused.
    """
    manifests = read_manifests(data, SPLITS)
    given = data / LABELS_FILE
    labels = read_labels(given) if given.exists() else labels_from_manifest(next(iter(manifests.values())))
    _refuse_held(out, overwrite=overwrite)
    with folder_when_complete(out) as folder:
        for manifest in manifests.values():
            labels.class_indices(manifest)
            # Faults that training would refuse are found before hours of packing.
            utterance_spans(manifest)
        write_labels(folder / LABELS_FILE, labels)
        parts = [_pack_split(split, manifest, folder, shard_bytes) for split, manifest in manifests.items()]
        names = sorted(path.name for path in folder.iterdir())
        write_text(folder / PACKED_FILE, json.dumps({"files": names}, indent=1) + "\n")
        if out.exists():
            _refuse_held(out, overwrite=overwrite)
            shutil.rmtree(out)
    return Summary(*(sum(numbers) for numbers in zip(*map(astuple, parts), strict=True)))


def _refuse_held(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder, found a file. Use another folder.")
    recorded = {lengths_path(out / f"{split}.csv").name for split in SPLITS}  # by check
    held = {path.name for path in out.iterdir()} - recorded if out.is_dir() else set()
    if not held:
        return
    try:
        packed = {PACKED_FILE, *json.loads((out / PACKED_FILE).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        # The files were not written by pack.
        packed = set()
    foreign = sorted(held - packed)
    if foreign:
        raise UserError(f"{out}: expected files of an earlier pack only, found {foreign[0]}. Use another folder.")
    if not overwrite:
        raise UserError(f"{out}: already holds a pack. Use another folder, or replace it by --overwrite.")


def _pack_split(split: str, manifest: Manifest, folder: Path, shard_bytes: int) -> Summary:
    """Write the shards and the manifest of a split."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(manifest.columns["audiopath"].tolist()):
        rows_of.setdefault(name, []).append(row)
    places: dict[str, str] = {}
    audio_bytes = 0
    with ShardWriter(folder, split, shard_bytes) as shards:
        for number, (name, rows) in enumerate(tqdm(rows_of.items(), desc=f"packing {split}", unit="file", delay=1)):
            extension, content = packed_audio(manifest.audio_path(rows[0]))
            audio_bytes += len(content)
            text = json.dumps({"utterances": [_row(manifest, row) for row in rows]}, ensure_ascii=False)
            places[name] = shards.add(f"{number:08d}", {extension: content, "json": text.encode()})
    paths = [places[name] for name in manifest.columns["audiopath"].tolist()]
    write_manifest(folder / f"{split}.csv", {**manifest.columns, "audiopath": paths})
    return Summary(len(manifest), len(rows_of), shards.count, audio_bytes)


def _row(manifest: Manifest, row: int) -> dict[str, str | float]:
    """Return a row of a manifest without its audiopath and empty values."""
    # tolist, since text of variable width has no item().
    values = {
        name: column[row : row + 1].tolist()[0] for name, column in manifest.columns.items() if name != "audiopath"
    }
    return {name: value for name, value in values.items() if value != "" and value == value}  # noqa: PLR0124 - NaN


@dataclass
class ShardWriter:
    """Writes the shards of a split one after the other; the same content gives the same bytes."""

    folder: Path  # where to write
    split: str  # prefix of the file names
    shard_bytes: int  # maximum size of a shard; a larger sample has a shard of its own
    count: int = 0  # number of shards so far
    _tar: tarfile.TarFile | None = field(default=None, init=False)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, key: str, parts: Mapping[str, bytes]) -> str:
        """Write the parts of a sample, extension → content, and return the path of the first part."""
        needed = sum(tarfile.BLOCKSIZE + _padded(len(content)) for content in parts.values())
        if self._tar is None or (self._tar.offset and self._tar.offset + needed > self.shard_bytes):
            self._begin()
        assert self._tar is not None
        paths = []
        for extension, content in parts.items():
            header = tarfile.TarInfo(f"{key}.{extension}")
            header.size = len(content)
            self._tar.addfile(header, io.BytesIO(content))
            start = self._tar.offset - _padded(len(content))
            paths.append(member_path(Path(str(self._tar.name)).name, start, len(content)))
        return paths[0]

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._tar = tarfile.open(  # noqa: SIM115 - closed by __exit__
            self.folder / f"{self.split}-{self.count:06d}.tar", "w", format=tarfile.USTAR_FORMAT
        )
        self.count += 1


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def packed_audio(path: Path) -> tuple[str, bytes]:
    """Return the extension and the bytes of audio as a member, whose format must not be known by its name only."""
    expected, audio = read_header(path), read_content(path)
    extension, found = recognise(path, audio)
    if found != expected:
        raise UserError(f"{path}: has another length if read without its extension. Convert it to wav.")
    return extension, audio


def recognise(path: Path, audio: bytes) -> tuple[str, AudioHeader]:
    """Return the extension and the header of audio as a member. Raises UserError: it is damaged or not recognised."""
    try:
        with silent_decoder(), soundfile.SoundFile(io.BytesIO(audio)) as file:
            header, form = examine(path, file, io.BytesIO(audio)), file.format
    except soundfile.SoundFileError as error:
        raise UserError(
            f"{path}: expected audio that is recognised without its extension, which a shard does not have, found "
            f"other audio ({reason(error)}). Convert it to wav."
        ) from None
    return path.suffix[1:].lower() if path.suffix[1:].isalnum() else _EXTENSIONS.get(form, form.lower()), header
