"""What accuracy and calibration on dev cannot say of other voices, from the speakers of train and dev."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from .corpus import Corpus
from .manifest.columns import Names

_MIN_SPEAKERS = 5
_NAMED = 8
_CONSEQUENCE = "accuracy and calibration on dev say nothing of other voices"


def limits_of_voices(corpus: Corpus) -> list[str]:
    """Return a line per limit; none if dev has other speakers than train, and train has at least 5 per class."""
    if not (corpus.has("train") and corpus.has("dev")):
        return []
    pairs = {}
    for split in ("train", "dev"):
        manifest = corpus.manifest(split)
        classes, speakers = manifest.classes, Names.of(manifest.text_column("speaker"))
        # As numbers: there may be millions of utterances.
        count = len(speakers.names)
        of_class, of_speaker = np.divmod(np.unique(classes.codes * count + speakers.codes), count)
        named = zip(classes.names[of_class].tolist(), speakers.names[of_speaker].tolist(), strict=True)
        pairs[split] = [pair for pair in named if pair[1]]
    if not pairs["train"] or not pairs["dev"]:
        return ["the speakers of train or dev are not known: accuracy and calibration may not hold for other voices"]
    counts = Counter(name for name, _ in pairs["train"])
    few = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < _MIN_SPEAKERS]
    trained = {speaker for _, speaker in pairs["train"]}
    shared = sorted({name for name, speaker in pairs["dev"] if speaker in trained})
    lines = []
    if few:
        lines.append(f"classes with fewer than {_MIN_SPEAKERS} speakers in train: {_list(few)}; {_CONSEQUENCE}")
    if shared:
        lines.append(f"classes of dev with speakers of train: {_list(shared)}; {_CONSEQUENCE}")
    return lines


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} others" if len(names) > _NAMED else "")
