"""Manifests of Lhotse, cuts or supervisions with recordings, read line by line: ``lid-mapmix prepare lhotse``.

One file, which is divided, or a folder with those of train, dev and test, named as Lhotse's recipes name them. Audio
must be in files: commands are not run and addresses not fetched.
"""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import DEFAULT_FRACTION, Listing, Utterance, listed_corpus
from .steps.tables import describe_folder, exported_clusters

RECORDINGS, SUPERVISIONS, CUTS = "recordings", "supervisions", "cuts"
# Custom fields of supervisions that are columns of the manifest.
OWN_FIELDS = ("group", "source")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    meaning = "supervision's field (default: %(default)s)"
    parser.add_argument("--label-field", default="language", metavar="NAME", help=meaning)


def _list(options: argparse.Namespace) -> Listing:
    """List a manifest, or those of the splits; without dev, train is divided. Raises UserError: bad content."""
    corpus, field = options.corpus_folder.resolve(), options.label_field
    require_lhotse(corpus)
    files = [("", corpus)] if corpus.is_file() else []
    for kind in (CUTS, SUPERVISIONS):  # cuts are preferred to the supervisions that they are made of
        paths = ((split, sorted(corpus.glob(f"*{kind}_{split}.jsonl*"))) for split in SPLITS)
        files = files or [(split, path) for split, some in paths for path in some]
    splits = {split for split, _ in files}
    if not splits & {"", "train"}:
        names = describe_folder(corpus)
        raise UserError(f"{corpus}: expected {CUTS}_train.jsonl.gz or {SUPERVISIONS}_train.jsonl.gz, found {names}.")
    if "dev" not in splits:
        files = [(split.replace("train", ""), path) for split, path in files]
    utterances = [one for split, path in files for one in _list_file(path, split, field)]
    clusters = exported_clusters(corpus)
    return Listing(corpus, utterances, {"clusters": clusters}, clusters)


def require_lhotse(path: Path) -> None:
    """Raise UserError if lhotse, which `path` needs, is not installed."""
    if find_spec("lhotse") is None:
        raise UserError(f"{path}: needs lhotse, which is not installed. Run 'pip install \"lid-mapmix[lhotse]\"'.")


def _list_file(path: Path, split: str, field: str) -> Iterator[Utterance]:
    try:
        for cut in _cuts(path):
            audio = str(Path(_file_of(path, cut)).absolute())
            # A cut without a supervision has no label.
            for number, segment in enumerate(cut.supervisions or [None]):
                label = getattr(segment, field, None)
                if not isinstance(label, str | int) or label == "":
                    raise UserError(f"{path}: expected {field} of {cut.id}, found {label}. Name it by --label-field.")
                name, inside = f"{cut.id}@{number}" if number else str(cut.id), segment.trim(cut.duration)
                start, end = round(cut.start + inside.start, 6), round(cut.start + inside.end, 6)
                is_part = round(start, 3) > 0 or round(end, 3) < round(cut.recording.duration, 3)
                speaker, seconds = str(segment.speaker or ""), round(end - start, 6)
                one = Utterance(audio, str(label), name, split, seconds, speaker=speaker)
                one = one._replace(start=start, end=end, group=str(cut.recording.id)) if is_part else one
                own = segment.custom or {}
                yield one._replace(**{key: own[key] for key in OWN_FIELDS if isinstance(own.get(key), str)})
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - Lhotse, gzip and JSON have their own
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: expected a complete manifest of Lhotse, found other content ({why}).") from None


def _cuts(path: Path) -> Iterator[Any]:
    """Yield the cuts of a manifest; a supervision becomes one."""
    from lhotse import MonoCut, SupervisionSegment, load_manifest_lazy  # noqa: PLC0415

    recordings: dict[str, Any] = {}
    for item in load_manifest_lazy(path) or ():
        if isinstance(item, SupervisionSegment):
            beside = path.with_name(path.name.replace(SUPERVISIONS, RECORDINGS))
            recordings = recordings or {one.id: one for one in load_manifest_lazy(beside)}
            segment, recording = item.with_offset(-item.start), recordings[item.recording_id]
            yield MonoCut(item.id, item.start, item.duration, item.channel, [segment], recording=recording)
        else:
            yield item


def _file_of(path: Path, cut: Any) -> str:
    """Return the file whose channels are exactly those of a cut: it is read as a whole, and mixed to mono."""
    recording, channel = (getattr(cut, name, None) for name in ("recording", "channel"))
    sources, changes = (list(getattr(recording, name, None) or ()) for name in ("sources", "transforms"))
    channels = channel if isinstance(channel, list) else [channel]
    files = [one.source for one in sources if one.type == "file" and set(one.channels) == set(channels)]
    changed = [type(one).__name__ for one in changes if type(one).__name__ != "Resample"]
    if len(files) == 1 and not changed:
        return str(files[0])
    found = ", ".join([*(f"{one.type} of channels {one.channels}" for one in sources), *changed]) or type(cut).__name__
    raise UserError(
        f"{path}: expected a file of channels {channels} for {cut.id}, found {found}. Save its audio to one."
    )


CORPUS = listed_corpus(
    "manifests of Lhotse (cuts, or supervisions with recordings), or train, dev and test of them",
    """\
lid-mapmix prepare lhotse data/manifests/ --out data/
lid-mapmix prepare lhotse cuts.jsonl.gz --out data/ --label-field dialect --dev-fraction 0.1""",
    _list,
    source="a manifest, or a folder with cuts_train.jsonl.gz, cuts_dev.jsonl.gz and so on",
    metavar="MANIFEST",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
