"""README.md of a run and of an export: a model card with Hugging Face's front matter and scores.

Its content is read from the checkpoint of the run, its scores and, if available, its data; its text is in
model_card.md.jinja. A card that the user has edited is never replaced: a comment in the card holds the digest of the
rest.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.named_paths import is_of_run
from ...config.schema import EvaluationConfig
from ...config.settings import Settings
from ...config.upstreams import Upstream, read_upstream
from ...data.corpus import Corpus
from ...data.labels import labels_from_mapping
from ...scoring.calibration import read_calibration
from ...training.checkpoints import read_checkpoint
from ...utils.errors import UserError
from ...utils.files import warn_if_not_written, write_text
from ...utils.run_folder import RunFolder, choose_checkpoint

# Score → its name on the Hugging Face Hub, and its meaning.
_SCORES = {
    "acc": ("accuracy", "accuracy"),
    "wf1": ("f1", "weighted F1"),
    "macro_f1": ("f1", "macro F1"),
    "c_acc": ("accuracy", "cluster accuracy"),
    "log_loss": ("log_loss", "log loss, nats"),
    "log_loss_calibrated": ("log_loss", "log loss after calibration, nats"),
    "ece": ("ece", "expected calibration error"),
    "ece_calibrated": ("ece", "expected calibration error after calibration"),
    "eer": ("eer", "equal error rate"),
    "c_primary": ("c_primary", "C_primary of NIST's LRE 2017"),
    "cllr": ("cllr", "Cllr, bits"),
}
_SPLITS = ("train", "dev", "test")
_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_MARK = "<!-- written by lid_mapmix, {digest}: an edited card is not replaced -->"
_MARKED = re.compile(r"<!-- written by lid_mapmix, ([0-9a-f]{16}): .*-->\n")
_LANGUAGE_CODE = re.compile("[a-z]{2,3}")


@dataclass(frozen=True)
class Facts:
    """The content of a model card."""

    name: str  # of the model
    clusters: Mapping[str, Sequence[str]]  # cluster → classes
    # upstream, variant: names.
    upstream: str
    variant: str | None
    training: str  # of the upstream: fine-tuned, frozen, or with an adapter
    base: Upstream  # its licence, and its name on the Hugging Face Hub
    data_name: str  # name of the data folder
    # Split → utterances, hours, speakers (0 if unknown); only splits that are still available.
    amounts: Mapping[str, tuple[int, float, int]]
    class_counts: Mapping[str, int]  # class → training utterances; empty if unknown
    sources: Sequence[str]  # sources in the training manifest
    scores: Mapping[str, Mapping[str, Any]]  # split → score → value
    limits: Sequence[str]  # what the scores do not say of other voices
    calibration: str | None  # what the calibration of the probabilities rests on; None if they are not calibrated
    crop_seconds: float  # duration of a training crop
    evaluation: EvaluationConfig  # evaluation settings


def try_card(folder: RunFolder, corpus: Corpus) -> None:
    """Write the model card of a finished run, unless the user has edited it; log a warning if that fails."""
    path = folder.card
    with warn_if_not_written(path):
        if path.exists() and not is_unedited(path.read_text(encoding="utf-8", errors="replace")):
            print(f"[lid_mapmix] {path} was edited or written by another program; it is not replaced")
            return
        facts = read_facts(choose_checkpoint(folder.path, "evaluate"), folder.path.resolve().name, corpus)
        write_text(path, card_text(facts))


def is_unedited(text: str) -> bool:
    """Return whether a card is as :func:`card_text` made it."""
    found = _MARKED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()] + text[found.end() :])


def card_text(facts: Facts, folder: str = "DIR") -> str:
    """Return the card. `facts`: its content. `folder`: what it calls the model, a folder or its name on the Hub."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData  # noqa: PLC0415 - takes a while to import

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
    licence = re.match(r"MIT|CC BY[A-Z-]* \d\.\d", facts.base.licence)
    data = ModelCardData(
        language=language_codes([name for members in facts.clusters.values() for name in members]) or None,
        license=licence and licence[0].lower().replace(" ", "-"),  # as the Hub writes it
        base_model=facts.base.base_model,
        library_name="lid_mapmix",
        pipeline_tag="audio-classification",
        tags=["language-identification", "dialect-identification", "map-mix", "s3prl"],
        model_name=facts.name,
        eval_results=results or None,
    )
    splits = [split for split in ("dev", "test") if split in facts.scores]
    card = ModelCard.from_template(
        data, str(_TEMPLATE), facts=facts, folder=folder, splits=splits, rows=_score_rows(facts, splits), cells=_cells
    )
    front, rest = f"---\n{data.to_yaml()}\n---\n", f"{card.text}\n"
    return f"{front}{_MARK.format(digest=_digest(front + rest))}\n{rest}"


def language_codes(classes: Sequence[str]) -> list[str]:
    """Return the ISO 639 codes at the start of class names, such as eng in eng-gbr, without private-use codes."""
    starts = [name.split("-", 1)[0] for name in classes]
    codes = [start for start in starts if _LANGUAGE_CODE.fullmatch(start) and not "qaa" <= start <= "qtz"]
    return list(dict.fromkeys(codes))


def read_facts(checkpoint: Path, name: str, corpus: Corpus | None = None) -> Facts:
    """Collect the content of a model card.

    Raises UserError: the scores are of other data than those of the training.

    `checkpoint`: of the run, with its scores in the same folder. `name`: of the model. `corpus`: the data of the
    scores; None for the data folder of the training, if it is still the same.
    """
    states, folder = read_checkpoint(checkpoint), RunFolder(checkpoint.parent)
    settings = Settings.make(states["Args"], states["Config"], is_past=True)
    args, task = settings.args, settings.task
    labels = labels_from_mapping(task.labels, str(folder))
    own = (settings.data_directory or Path("unknown")).name
    if corpus is not None and corpus.directory.name != own:
        raise UserError(f"expected scores of {own}, the training data, found those of {corpus.directory.name}.")
    directory = task.data.directory
    if corpus is None and directory is not None and is_of_run("data", directory, vars(args), folder.path):
        corpus = Corpus(directory, labels.clusters)
    amounts: dict[str, tuple[int, float, int]] = {}
    counts: dict[str, int] = {}
    sources: list[str] = []
    for split in _SPLITS:
        if corpus is None:
            break
        try:
            manifest = corpus.manifest(split)
        except UserError:
            continue  # missing or changed: omitted from the card
        speakers = len(np.unique(manifest.columns["speaker"])) if "speaker" in manifest.columns else 0
        amounts[split] = len(manifest), float(manifest.columns["seconds"].sum()) / 3600, speakers
        if split == "train":
            names, sizes = np.unique(manifest.columns["class"], return_counts=True)
            counts = dict(zip(names.tolist(), sizes.tolist(), strict=True))
            sources = [source for source in np.unique(manifest.text_column("source")).tolist() if source]
    metrics = {split: folder.metrics(split) for split in _SPLITS}
    read = {split: json.loads(path.read_text(encoding="utf-8")) for split, path in metrics.items() if path.is_file()}
    scores = {split: _scores(content) for split, content in read.items()}
    tuned = "fine-tuned" if task.upstream.adapter is None else "with an adapter, which needs its weights: -k"
    return Facts(
        name=name,
        clusters=labels.clusters,
        upstream=args.upstream,
        variant=task.variant,
        training=tuned if args.upstream_trainable else "frozen",
        base=read_upstream(args.upstream),
        data_name=own,
        amounts=amounts,
        class_counts=counts,
        sources=sources,
        scores=scores,
        limits=list(dict.fromkeys(line for content in read.values() for line in content.get("limits", []))),
        calibration=read_calibration(folder.calibration).basis if folder.calibration.is_file() else None,
        crop_seconds=task.data.crop_seconds,
        evaluation=task.evaluation,
    )


def _scores(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a split, and log loss and calibration error after calibration if there is one."""
    calibrated = content.get("calibrated", {}).get("overall", {})
    return content["overall"] | {f"{name}_calibrated": calibrated.get(name) for name in ("ece", "log_loss")}


def _score_rows(facts: Facts, splits: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the meaning of each score, and its value per split."""
    rows = []
    for key, (_, meaning) in _SCORES.items():
        values = [facts.scores[split].get(key) for split in splits]
        if any(value is not None for value in values):
            rows.append((meaning, ["–" if value is None else f"{value:.3f}" for value in values]))
    return [*rows, ("utterances", [str(facts.scores[split].get("count", "–")) for split in splits])]


def _cells(texts: Iterable[str]) -> str:
    """Return texts escaped for Markdown and HTML, separated by commas."""
    return ", ".join(re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", " ".join(text.split())) for text in texts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
