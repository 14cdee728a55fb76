"""ML-SUPERB 1 and 2, ten minutes or an hour of each source corpus and language: ``lid-mapmix prepare mlsuperb``.

One folder per source corpus has one folder per language, with wav/ and a list of utterances per split. Dev and test are
the same for both training sets.
"""

import argparse
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from ...utils.errors import UserError
from .steps.corpus import Listing, Utterance, listed_corpus
from .steps.tables import choose, describe_folder, exported_clusters, read_lines, sub_folders

SETS = ("10min", "1h")
TRAIN, DEV, TEST = "transcript_{}_train.txt", "transcript_10min_dev.txt", "transcript_10min_test.txt"
AUDIO, EXTENSION = "wav", ".wav"
# Folder → code that the 2.0 challenge expects (ESPnet's egs2/ml_superb2/asr1/local/download.py). Its page has a column
# "Expected Code" for the language varieties; codes of it that no recipe has are not here.
CODES = {"org_jpn": "jpn", "lga": "lug", "ory": "ori", "azj": "aze", "arb": "ara", "tgl": "fil", "swh": "swa"}
# Of these utterances the folder is not that of the language.
NAMED_BY_ID = re.compile(r"ms_speech_(tam|tel|guj)_.+")

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--set", choices=SETS, default=SETS[-1], help="training set (default: %(default)s)")
    add("--varieties", type=Path, metavar="DIR", help="make test.csv of the 2.0 challenge's language varieties there")


def _list(options: argparse.Namespace) -> Listing:
    """List the splits. Raises UserError: another layout, or a language that is not there."""
    corpus_folder = options.corpus_folder.resolve()
    lists = {"train": TRAIN.format(options.set), "dev": DEV} | ({} if options.varieties else {"test": TEST})
    utterances = _list_folders(corpus_folder, lists)
    if options.varieties:
        utterances += _list_folders(options.varieties.resolve(), {"test": DEV})
    wanted = choose(dict.fromkeys(sorted({one.class_name for one in utterances})), options.languages)
    kept = [one for one in utterances if one.class_name in wanted]
    log.info("%d of %d utterances are of the requested languages", len(kept), len(utterances))
    clusters = exported_clusters(corpus_folder)
    settings = {"set": options.set, "languages": options.languages, "clusters": clusters}
    return Listing(corpus_folder, kept, settings, clusters)


def _list_folders(folder: Path, lists: Mapping[str, str]) -> list[Utterance]:
    """List the utterances in CORPUS/LANGUAGE/. `lists`: split → name of its list."""
    corpora = sub_folders(folder).values()
    languages = [path for one in corpora for path in sub_folders(one).values() if (path / AUDIO).is_dir()]
    if not languages:
        raise UserError(
            f"{folder}: expected CORPUS/LANGUAGE/{AUDIO}/, such as fleurs/dan/{AUDIO}/, found "
            f"{describe_folder(folder)}. Unpack the archive, and pass the folder that has those of the corpora."
        )
    utterances, rests = [], 0
    for split, path in ((split, path) for split in lists for path in languages):
        for _, line in read_lines(path / lists[split]):
            # Id, id in the source corpus, transcript. A line with less is the rest of a transcript.
            name, *others = line.split(maxsplit=2)
            if not others[1:] or "/" in name:
                rests += 1
                continue
            named = NAMED_BY_ID.fullmatch(name)
            code = named[1] if named else CODES.get(path.name, path.name)
            audio = str(path / AUDIO / (name + EXTENSION))
            utterances.append(Utterance(audio, code, name, split, source=path.parent.name))
    if rests:
        log.info("%s: left out %d lines that have no id or no transcript, as ESPnet does", folder, rests)
    return utterances


CORPUS = listed_corpus(
    "ML-SUPERB: ten minutes or an hour of each source corpus in 143 languages",
    """\
lid-mapmix prepare mlsuperb eighth_version/ --out data/ --set 10min
lid-mapmix prepare mlsuperb eighth_version/ --out data/ --varieties lang_varieties/""",
    _list,
    source="folder with one folder per source corpus, which has one per language",
    languages=True,
    add_own_flags=_add_flags,
)
