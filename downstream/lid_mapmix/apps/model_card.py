"""README.md of a run and of an export: a model card with Hugging Face's front matter, scores filled in.

A card that its user has edited is never written over: the first comment holds a digest of the rest.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import choose_checkpoint, read_checkpoint
from ..checks import task_config
from ..config import EvaluationConfig
from ..data.labels import labels_from_mapping
from ..data.manifest import read_manifest
from ..errors import UserError
from ..files import replace_when_complete
from ..identification.trained import CALIBRATION_NAME
from ..layers import TASK_KEY

CARD_NAME = "README.md"
_SPLITS = ("train", "dev", "test")
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


@dataclass(frozen=True)
class Facts:
    """What a card says.

    Attributes
    ----------
    name : of the model.
    clusters : cluster → classes.
    upstream, variant : names.
    is_fine_tuned : whether the upstream was trained as well.
    data_name : of the corpus: the name of its folder.
    amounts : split → utterances, hours and speakers (0 where unknown); without those that are not there any more.
    class_counts : class → training utterances; empty where unknown.
    sources : of the training data, as its manifest calls them.
    scores : split → score → value.
    is_calibrated : whether probabilities are.
    crop_seconds : length of a training crop.
    evaluation : how recordings are cut.
    """

    name: str
    clusters: Mapping[str, Sequence[str]]
    upstream: str
    variant: str | None
    is_fine_tuned: bool
    data_name: str
    amounts: Mapping[str, tuple[int, float, int]]
    class_counts: Mapping[str, int]
    sources: Sequence[str]
    scores: Mapping[str, Mapping[str, Any]]
    is_calibrated: bool
    crop_seconds: float
    evaluation: EvaluationConfig


def leave_card(expdir: Path) -> None:
    """Write the model card of a run into its folder, unless one lies there that is its user's."""
    path = expdir / CARD_NAME
    if path.exists() and not is_unedited(path.read_text(encoding="utf-8", errors="replace")):
        print(f"[lid_mapmix] {path} is not ours or was edited, and stays as it is")
        return
    text = card_text(read_facts(choose_checkpoint(expdir, "evaluate"), expdir.resolve().name), "DIR")
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_unedited(text: str) -> bool:
    """Say whether a card is just as :func:`card_text` made it."""
    found = _MARKED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()] + text[found.end() :])


def read_facts(checkpoint: Path, name: str) -> Facts:
    """Gather what there is to say of a run; of data that has gone nothing is said.

    Parameters
    ----------
    checkpoint : of the run, its scores beside it.
    name : of the model.
    """
    states, expdir = read_checkpoint(checkpoint), checkpoint.parent
    args, task = states["Args"], task_config(states["Config"][TASK_KEY])
    labels = labels_from_mapping(task.labels, str(expdir))
    data = Path(task.data.directory or "unknown")
    amounts: dict[str, tuple[int, float, int]] = {}
    counts: dict[str, int] = {}
    sources: list[str] = []
    for split in _SPLITS:
        try:
            manifest = read_manifest(data / f"{split}.csv")
        except UserError:
            continue  # gone, or changed since: the card then does without
        speakers = len(np.unique(manifest.columns["speaker"])) if "speaker" in manifest.columns else 0
        amounts[split] = len(manifest), float(manifest.columns["seconds"].sum()) / 3600, speakers
        if split == "train":
            names, sizes = np.unique(manifest.columns["class"], return_counts=True)
            counts = dict(zip(names.tolist(), sizes.tolist(), strict=True))
            sources = [source for source in np.unique(manifest.text_column("source")).tolist() if source]
    found = {split: expdir / f"{split}_metrics.json" for split in _SPLITS}
    scores = {
        split: json.loads(path.read_text(encoding="utf-8"))["overall"]
        for split, path in found.items()
        if path.is_file()
    }
    return Facts(
        name=name,
        clusters=labels.clusters,
        upstream=args.upstream,
        variant=task.variant,
        is_fine_tuned=bool(args.upstream_trainable),
        data_name=data.name,
        amounts=amounts,
        class_counts=counts,
        sources=sources,
        scores=scores,
        is_calibrated=(expdir / CALIBRATION_NAME).is_file(),
        crop_seconds=task.data.crop_seconds,
        evaluation=task.evaluation,
    )


def _read_scores(path: Path) -> dict[str, Any]:
    """Return the scores of a whole split, and the calibration error after calibration where there is one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    calibrated = content.get("calibrated", {}).get("overall", {})
    return {**content["overall"], "ece_calibrated": calibrated.get("ece")}


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
