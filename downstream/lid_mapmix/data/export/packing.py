"""Packing of a prepared corpus into tar shards: ``lid-mapmix pack DATA OUT``.

A folder of millions of small files is slow to copy, to list and to read for the first time. OUT has the manifests of
DATA, row by row, with members of OUT/SPLIT-NNNNNN.tar as audiopath (data/audio/shards.py), and its labels.yaml.
A run on OUT is the same as a run on DATA. Each shard is also a valid WebDataset: members NNNNNNNN.wav (or another
extension) and NNNNNNNN.json, which has the manifest's rows of that file under ``utterances``.

Everything is written to a folder beside OUT, which is renamed to OUT once it is complete. An audio file is packed
unchanged, or as flac with the same samples.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock, Timeout
from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.randomness import keyed_generator
from .. import LABELS_FILE, SPLITS
from ..audio.reading import examine, read_header, reason
from ..audio.shards import member_path, read_content
from ..audio.spans import utterance_spans
from ..labels import Labels, labels_from_manifest, read_labels, write_labels
from ..manifest.manifest import Manifest, read_manifests, write_manifest
from . import DEFAULT_SHARD_BYTES, AudioFormat

PACKED_FILE = "packed.json"
# Subtypes whose samples flac can represent exactly → subtype of the flac.
_LOSSLESS = {
    "PCM_S8": "PCM_S8",
    "PCM_U8": "PCM_S8",
    "PCM_16": "PCM_16",
    "PCM_24": "PCM_24",
    "ULAW": "PCM_16",
    "ALAW": "PCM_16",
}
# Extensions that differ from libsndfile's name of the format.
_EXTENSIONS = {"NIST": "sph", "WAVEX": "wav"}


@dataclass
class Summary:
    """Summary of a pack."""

    # utterances, files: their numbers.
    utterances: int = 0
    files: int = 0
    shards: int = 0
    # read_bytes, written_bytes: size of the audio before and after.
    read_bytes: int = 0
    written_bytes: int = 0
    converted: int = 0  # number of files converted to flac


@dataclass(frozen=True)
class _Form:
    shard_bytes: int
    audio_format: AudioFormat
    seed: int | None


def pack(
    data: Path,
    out: Path,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    audio_format: AudioFormat = AudioFormat.KEEP,
    seed: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Pack a folder of manifests and their audio.

    Raises UserError: no manifest, a fault in one, damaged audio, or `out` has files already.

    `data`: folder with train.csv, dev.csv and test.csv, or some of them, and labels.yaml if there is one.
    `shard_bytes`: maximum size of a shard; a larger file has a shard of its own. `audio_format`: ``flac`` converts
    audio if that is lossless, bit for bit; other audio is not changed. `seed`: of a random order of each split's files,
    for programs that read shards sequentially; None for the order of the manifest, in which evaluation reads them.
    `overwrite`: replace an earlier pack; a folder with other files is refused.
    """
    manifests = read_manifests(data, SPLITS)
    labels = _find_labels(data, manifests)
    form = _Form(shard_bytes, audio_format, seed)
    with _complete_folder(out, overwrite=overwrite) as folder:
        for manifest in manifests.values():
            labels.class_indices(manifest)
            # Faults that training would refuse are found before hours of packing.
            utterance_spans(manifest)
        write_labels(folder / LABELS_FILE, labels)
        parts = [_pack_split(split, manifest, folder, form) for split, manifest in manifests.items()]
        names = sorted(path.name for path in folder.iterdir())
        write_text(
            folder / PACKED_FILE, json.dumps({"format": audio_format, "seed": seed, "files": names}, indent=1) + "\n"
        )
    return Summary(*(sum(numbers) for numbers in zip(*map(astuple, parts), strict=True)))


def _find_labels(data: Path, manifests: Mapping[str, Manifest]) -> Labels:
    if (data / LABELS_FILE).exists():
        return read_labels(data / LABELS_FILE)
    return labels_from_manifest(next(iter(manifests.values())))


def _refuse_held(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder, found a file. Use another folder.")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
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


@contextmanager
def _complete_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder to write to, which replaces `out` if the block ends without an error, and is deleted otherwise."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    beside, former = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.former")
    lock = out.with_name(f".{out.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                # A killed process may have left it.
                if former.exists() and not out.exists():
                    former.rename(out)
                shutil.rmtree(beside, ignore_errors=True)
                _refuse_held(out, overwrite=overwrite)
                beside.mkdir()
                yield beside
                if out.exists():
                    out.rename(former)
                beside.rename(out)
            finally:
                if former.exists() and not out.exists():
                    former.rename(out)
                shutil.rmtree(former, ignore_errors=True)
                shutil.rmtree(beside, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except Timeout:
        raise UserError(f"{out}: another process is packing there. Wait for it, or use another folder.") from None


def _pack_split(split: str, manifest: Manifest, folder: Path, form: _Form) -> Summary:
    """Write the shards and the manifest of a split."""
    names, first, file_of = np.unique(manifest.columns["audiopath"], return_index=True, return_inverse=True)
    by_file = np.argsort(file_of, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(file_of))])
    order = np.argsort(first)
    summary = Summary(utterances=len(manifest), files=len(names))
    if form.seed is not None:
        order = keyed_generator(form.seed, f"pack {split}").permutation(order)
    places: dict[int, str] = {}
    with ShardWriter(folder, split, form.shard_bytes) as shards:
        for number, file in enumerate(tqdm(order.tolist(), desc=f"packing {split}", unit="file", delay=1)):
            rows = by_file[bounds[file] : bounds[file + 1]].tolist()
            packed = packed_audio(manifest.audio_path(rows[0]), form.audio_format)
            summary.converted += packed.converted
            summary.read_bytes += packed.read_bytes
            summary.written_bytes += len(packed.content)
            text = json.dumps({"utterances": [_row(manifest, row) for row in rows]}, ensure_ascii=False)
            places[file] = shards.add(f"{number:08d}", {packed.extension: packed.content, "json": text.encode()})
    summary.shards = shards.count
    columns = {name: _written(values) for name, values in manifest.columns.items()}
    columns["audiopath"] = [places[file] for file in file_of.tolist()]
    write_manifest(folder / f"{split}.csv", columns)
    return summary


def _row(manifest: Manifest, row: int) -> dict[str, str | float]:
    """Return a row of a manifest without its audiopath and empty values."""
    # tolist, since text of variable width has no item().
    values = {
        name: column[row : row + 1].tolist()[0] for name, column in manifest.columns.items() if name != "audiopath"
    }
    return {name: value for name, value in values.items() if value != "" and value == value}  # noqa: PLR0124 - NaN


def _written(values: np.ndarray) -> np.ndarray | list[str]:
    """Return a column as written in a manifest: NaN is empty."""
    if values.dtype.kind != "f":
        return values
    return ["" if np.isnan(value) else repr(value) for value in values.tolist()]


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


@dataclass(frozen=True)
class PackedAudio:
    """An audio file as a member of a shard."""

    extension: str  # without the dot
    content: bytes  # its bytes
    read_bytes: int  # size of the file
    converted: bool  # whether it was converted to flac


def packed_audio(path: Path, audio_format: AudioFormat) -> PackedAudio:
    """Read audio, converted if that is requested and lossless. Raises UserError: only its name says its format."""
    audio = read_content(path)
    extension = _extension(path, audio)
    packed = _as_flac(audio) if audio_format is AudioFormat.FLAC else None
    if packed is None:
        return PackedAudio(extension, audio, len(audio), converted=False)
    return PackedAudio("flac", packed, len(audio), converted=True)


def _extension(path: Path, audio: bytes) -> str:
    """Return the extension for a member, after checking that libsndfile recognises the audio without it."""
    expected = read_header(path)
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            found, form = examine(path, file, io.BytesIO(audio)), file.format
    except soundfile.SoundFileError as error:
        raise UserError(
            f"{path}: expected audio that is recognised without its extension, which a shard does not have, found "
            f"other audio ({reason(error)}). Convert it to wav."
        ) from None
    if found != expected:
        raise UserError(f"{path}: has another length if read without its extension. Convert it to wav.")
    return path.suffix[1:].lower() if path.suffix[1:].isalnum() else _EXTENSIONS.get(form, form.lower())


def _as_flac(audio: bytes) -> bytes | None:
    """Return audio as flac; None if it is flac already, or if the conversion would not be lossless."""
    with soundfile.SoundFile(io.BytesIO(audio)) as file:
        if file.format == "FLAC" or file.subtype not in _LOSSLESS:
            return None
        samples, sample_rate, subtype = file.read(dtype="int32", always_2d=True), file.samplerate, file.subtype
    packed = io.BytesIO()
    try:
        soundfile.write(packed, samples, sample_rate, format="FLAC", subtype=_LOSSLESS[subtype])
        packed.seek(0)
        again, _ = soundfile.read(packed, dtype="int32", always_2d=True)
    except soundfile.SoundFileError:
        # More channels, or another rate, than flac supports.

        return None
    return packed.getvalue() if np.array_equal(samples, again) else None
