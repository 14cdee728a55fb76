"""ML-SUPERB 1 and 2, ten minutes or an hour of each source corpus and language: ``lid-mapmix prepare mlsuperb``.

One folder per source corpus has one folder per language, with wav/ and a list of utterances per split. Dev and test are
the same for both training sets. ``mlsuperb.yaml`` has the codes and the few-shot utterances of the benchmark.
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
# Of these utterances the folder is not that of the language.
NAMED_BY_ID = re.compile(r"ms_speech_(tam|tel|guj)_.+")

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--set", choices=SETS, default=SETS[-1], help="training set (default: %(default)s)")
    add("--varieties", type=Path, metavar="DIR", help="make test.csv of the 2.0 challenge's language varieties there")
    add("--few-shot", action="store_true", help="train on five utterances only of each of the 20 few-shot languages")


def _list(options: argparse.Namespace) -> Listing:
    """List the splits. Raises UserError: another layout, or a language that is not there."""
    import yaml  # noqa: PLC0415

    facts = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    corpus_folder = options.corpus_folder.resolve()
    lists = {"train": TRAIN.format(options.set), "dev": DEV} | ({} if options.varieties else {"test": TEST})
    utterances = _list_folders(corpus_folder, lists, facts["codes"])
    if options.varieties:
        utterances += _list_folders(options.varieties.resolve(), {"test": DEV}, facts["codes"])
    wanted = choose(dict.fromkeys(sorted({one.class_name for one in utterances})), options.languages, "--languages")
    kept = [one for one in utterances if one.class_name in wanted]
    if options.few_shot:
        few = facts["few_shot"]
        kept = [one for one in kept if one.split != "train" or one.id in few.get(one.class_name, [one.id])]
    log.info("%d of %d utterances are of the requested languages and few-shot sets", len(kept), len(utterances))
    clusters = exported_clusters(corpus_folder)
    settings = {name: getattr(options, name) for name in ("set", "few_shot", "languages")} | {"clusters": clusters}
    return Listing(corpus_folder, kept, settings, clusters)


def _list_folders(folder: Path, lists: Mapping[str, str], codes: Mapping[str, str]) -> list[Utterance]:
    """List the utterances in CORPUS/LANGUAGE/. `lists`: split → name of its list. `codes`: folder → class."""
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
            code = named[1] if named else codes.get(path.name, path.name)
            audio = str(path / AUDIO / (name + EXTENSION))
            utterances.append(Utterance(audio, code, name, split, source=path.parent.name))
    if rests:
        log.info("%s: left out %d lines that have no id or no transcript, as ESPnet does", folder, rests)
    return utterances


CORPUS = listed_corpus(
    "mlsuperb",
    "ML-SUPERB: ten minutes or an hour of each source corpus in 143 languages",
    """\
lid-mapmix prepare mlsuperb eighth_version/ --out data/ --set 10min --few-shot
lid-mapmix prepare mlsuperb eighth_version/ --out data/ --varieties lang_varieties/""",
    _list,
    source="folder with one folder per source corpus, which has one per language",
    languages=True,
    add_own_flags=_add_flags,
)
