"""README.md of a run and of an export: a model card with Hugging Face's front matter, scores filled in.

A card that its user has edited is never written over: the first comment holds a digest of the rest.
"""

import hashlib
import logging
import re
from collections.abc import Sequence

from ...data.corpus import Corpus
from ...utils.files import write_text
from ...utils.run_folder import RunFolder, choose_checkpoint
from .card_facts import Facts, read_facts

logger = logging.getLogger(__name__)
# Score → the name Hugging Face's hub knows it by, and what it is.
_SCORES = {
    "acc": ("accuracy", "accuracy"),
    "wf1": ("f1", "weighted F1"),
    "macro_f1": ("f1", "macro F1"),
    "c_acc": ("accuracy", "right cluster"),
    "ece": ("ece", "expected calibration error"),
    "ece_calibrated": ("ece", "the same after calibration"),
    "eer": ("eer", "equal error rate"),
    "c_primary": ("c_primary", "C_primary of NIST's LRE 2017"),
    "cllr": ("cllr", "Cllr, bits"),
}
_MARK = "<!-- written by lid_mapmix, {digest}: a card that was edited is not written over -->"
_MARKED = re.compile(r"<!-- written by lid_mapmix, ([0-9a-f]{16}): .*-->\n")
_LANGUAGE_CODE = re.compile("[a-z]{2,3}")


def try_card(folder: RunFolder, corpus: Corpus) -> None:
    """Write the model card of a run that has ended, unless its user's lies there; where that fails, say so.

    Parameters
    ----------
    folder : of the run.
    corpus : as for :func:`.card_facts.read_facts`.
    """
    path = folder.card
    try:
        if path.exists() and not is_unedited(path.read_text(encoding="utf-8", errors="replace")):
            print(f"[lid_mapmix] {path} is not ours or was edited, and stays as it is")
            return
        facts = read_facts(choose_checkpoint(folder.path, "evaluate"), folder.path.resolve().name, corpus)
        write_text(path, card_text(facts, "DIR"))
    # Whatever it is: a card is not worth a run's scores and report.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        logger.warning("%s was not written: %s", path, reason or type(error).__name__)


def is_unedited(text: str) -> bool:
    """Say whether a card is just as :func:`card_text` made it."""
    found = _MARKED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()] + text[found.end() :])


def card_text(facts: Facts, folder: str) -> str:
    """Return the card.

    Parameters
    ----------
    facts : what it says.
    folder : how the model's own folder is called in the examples.
    """
    body = "\n\n".join(
        part for part in (_introduction(facts), _scores(facts), _usage(folder), _data(facts), _limits(facts)) if part
    )
    front = f"---\n{_front_matter(facts)}---\n"
    rest = f"\n{body}\n"
    return f"{front}{_MARK.format(digest=_digest(front + rest))}\n{rest}"


def language_codes(classes: Sequence[str]) -> list[str]:
    """Return the ISO 639 codes that class names begin with, such as eng of eng-gbr; none of the private ones."""
    starts = [name.split("-", 1)[0] for name in classes]
    codes = [start for start in starts if _LANGUAGE_CODE.fullmatch(start) and not "qaa" <= start <= "qtz"]
    return list(dict.fromkeys(codes))


def _front_matter(facts: Facts) -> str:
    from huggingface_hub import EvalResult, ModelCardData  # noqa: PLC0415 - takes a while to import

    classes = [name for members in facts.clusters.values() for name in members]
    results = [
        EvalResult(
            task_type="audio-classification",
            dataset_type=facts.data_name,
            dataset_name=facts.data_name,
            dataset_split=split,
            metric_type=kind,
            metric_name=meaning,
            metric_value=round(facts.scores[split][key], 4),
        )
        for split in ("test", "dev")
        if split in facts.scores
        for key, (kind, meaning) in _SCORES.items()
        if facts.scores[split].get(key) is not None
    ]
    data = ModelCardData(
        language=language_codes(classes) or None,
        library_name="lid_mapmix",
        pipeline_tag="audio-classification",
        tags=["language-identification", "dialect-identification", "map-mix", "s3prl"],
        model_name=facts.name,
        eval_results=results or None,
    )
    return f"{data.to_yaml()}\n"


def _introduction(facts: Facts) -> str:
    classes = sum(map(len, facts.clusters.values()))
    use = "fine-tuned" if facts.is_fine_tuned else "frozen"
    lines = [f"| {_cell(name)} | {', '.join(map(_cell, members))} |" for name, members in facts.clusters.items()]
    return (
        f"# {facts.name}\n\n"
        f"Tells {classes} dialects or languages of {len(facts.clusters)} clusters apart. Variant `{facts.variant}` of "
        f"[Map-Mix](https://arxiv.org/abs/2302.08229) on the upstream `{facts.upstream}` of S3PRL, {use}.\n\n"
        "| cluster | classes |\n|---|---|\n" + "\n".join(lines)
    )


def _scores(facts: Facts) -> str:
    splits = [split for split in ("dev", "test") if split in facts.scores]
    if not splits:
        return ""
    rows = [
        f"| {meaning} | " + " | ".join(_score(facts.scores[split].get(key)) for split in splits) + " |"
        for key, (_, meaning) in _SCORES.items()
        if any(facts.scores[split].get(key) is not None for split in splits)
    ]
    counts = "| utterances | " + " | ".join(str(facts.scores[split].get("count", "–")) for split in splits) + " |"
    head = f"| score | {' | '.join(splits)} |\n|---|{'---|' * len(splits)}"
    return f"## Scores\n\n{head}\n" + "\n".join([*rows, counts]) + "\n\nThe best checkpoint was chosen on dev."


def _usage(folder: str) -> str:
    return f"""## How to use

With the package lid_mapmix installed, and `{folder}` the folder of this card:

```python
from lid_mapmix import Identifier

identifier = Identifier.from_pretrained("{folder}")
answer = identifier(wav, sample_rate)          # any rate, any channels, 25 ms and longer
print(answer.answer, answer.classes[:3], answer.probabilities[:3])
```

```
lid-mapmix predict -e {folder} recording.wav folder/ --reject 0.05
```"""


def _data(facts: Facts) -> str:
    if not facts.amounts:
        return f"## Training data\n\n`{facts.data_name}`; it was not at hand any more when this card was written."
    rows = [
        f"| {split} | {count:,} | {hours:.2f} | {speakers or '–'} |"
        for split, (count, hours, speakers) in facts.amounts.items()
    ]
    parts = [
        f"## Training data\n\n`{facts.data_name}`",
        "| split | utterances | hours | speakers |\n|---|---|---|---|\n" + "\n".join(rows),
    ]
    if facts.sources:
        parts.append(f"Sources: {', '.join(map(_cell, facts.sources))}.")
    if facts.class_counts:
        counts = ", ".join(f"{_cell(name)} {count}" for name, count in facts.class_counts.items())
        parts.append(f"Training utterances a class: {counts}.")
    return "\n\n".join(parts)


def _limits(facts: Facts) -> str:
    window, hop = facts.evaluation.window_seconds, facts.evaluation.hop_seconds
    calibrated = (
        "Probabilities are calibrated on dev, and hold for recordings like those."
        if facts.is_calibrated
        else "Probabilities are not calibrated."
    )
    return f"""## Limits

- It knows the classes above and no others: another language is given one of them, unless `reject` says otherwise.
- {calibrated}
- It was trained on crops of {facts.crop_seconds:g} s and averages windows of {window:g} s every {hop:g} s; what is
  much shorter is told apart less well. A recording of several languages has one answer, unless segments are asked for.
- The scores are of the corpus above; other channels, speakers and kinds of speech can be worse."""


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """Return text that stands for itself in Markdown and HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", " ".join(text.split()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
