"""What accuracy and calibration on dev cannot say of other voices, from the speakers of train and dev."""

from collections.abc import Iterable

from .corpus import Corpus

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
        speakers, classes = manifest.text_column("speaker").tolist(), manifest.columns["class"].tolist()
        pairs[split] = {pair for pair in zip(classes, speakers, strict=True) if pair[1]}
    if not pairs["train"] or not pairs["dev"]:
        return ["the speakers of train or dev are not known: accuracy and calibration may not hold for other voices"]
    classes = sorted({name for name, _ in pairs["train"]})
    counts = {name: sum(other == name for other, _ in pairs["train"]) for name in classes}
    few = [f"{name} ({count})" for name, count in counts.items() if count < _MIN_SPEAKERS]
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
