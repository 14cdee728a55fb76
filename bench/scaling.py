r"""How cost grows with the number of utterances, classes, epochs, hours of a recording, and runs of a leaderboard.

    .venv/bin/python bench/scaling.py
    .venv/bin/python bench/scaling.py --tables classes epochs --markdown

Components are measured, not trainings: each with each size in its own process, on made-up data without audio (a silent
file for recordings). A cell has the CPU seconds, which depend less on other load than wall time, and the peak memory in
MB, input included, above the interpreter with its imports. The last column is the growth from the smallest size that
takes a second (or the smallest two) to the largest: exponents of time and memory, 1 if cost grows as the size does.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lid_mapmix.apps.leaderboard.comparison import best_row, resample
from lid_mapmix.config.checks import task_config
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.data.check.corpus_check import check_corpus
from lid_mapmix.data.check.subject import Headers, Subject, Utterances
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.labels import labels_from_manifest, read_labels, write_labels
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest, write_manifest
from lid_mapmix.data.voices import limits_of_voices
from lid_mapmix.data.windows import sliding_windows, window_batches
from lid_mapmix.evaluation.results import intervals, score
from lid_mapmix.inference.recording import Recording
from lid_mapmix.inference.segments import find_segments
from lid_mapmix.mapmix.dynamics import EpochRecorder, write_epoch
from lid_mapmix.mapmix.suspects import find_suspects
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.files.own import ScoreFile, read_scores, write_scores
from lid_mapmix.scoring.metrics import logarithms
from lid_mapmix.training.dynamics import DynamicsRecording
from lid_mapmix.training.plan import plan_training
from lid_mapmix.utils.run_folder import RunFolder
from tidy import tidy_when_stopped

# Of the sizes that a table does not vary.
_UTTERANCES, _CLASSES, _EPOCHS = 10_000, 20, 5
_SPEAKERS_OF = 50
_BATCH = 1_000
_WINDOW, _HOP, _SPOKEN = 6.0, 1.5, 0.9
_RESAMPLES = 100


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=list(_TABLES), default=list(_TABLES))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="components, by their names")
    parser.add_argument("--markdown", action="store_true", help="print the tables as in docs/measured.md")
    parser.add_argument("--sizes", type=int, default=4, help="how many of the sizes, from the smallest; default: all")
    options = parser.parse_args()
    tidy_when_stopped()
    for table in options.tables:
        sizes, names, components = _TABLES[table]
        sizes, names = sizes[: options.sizes], names[: options.sizes]
        _print(["", *names, "growth"], markdown=options.markdown, is_header=True)
        for name, component in components.items():
            if options.only and name not in options.only:
                continue
            found = [_measure(component, size) for size in sizes]
            # Of small sizes, fixed costs would be seen only.
            first = next((at for at, (seconds, _) in enumerate(found[:-1]) if seconds >= 1), len(found) - 2)
            span = np.log(_amount(sizes[-1]) / _amount(sizes[first]))
            growth = [
                np.log(max(last, 1e-3) / max(one, 1e-3)) / span
                for one, last in zip(found[first], found[-1], strict=True)
            ]
            cells = [f"{seconds:.2f} s, {memory:.0f} MB" for seconds, memory in found]
            _print([name, *cells, f"{growth[0]:.1f}, {growth[1]:.1f}"], markdown=options.markdown)
        _print([f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"], markdown=False)


def _print(cells: list[str], *, markdown: bool, is_header: bool = False) -> None:
    if markdown:
        print(
            f"| {' | '.join(cells)} |" + ("\n|---" + "|---" * (len(cells) - 1) + "|" if is_header else ""), flush=True
        )
    else:
        print(f"{cells[0]:34}" + "".join(f"{cell:>20}" for cell in cells[1:]), flush=True)


def _amount(size: Any) -> float:
    return float(np.prod(size))


# -- data ------------------------------------------------------------------------------------------


def _names(count: int) -> list[str]:
    # Clusters of five, as dialects; a tenth of the classes is a cluster by itself.
    return [f"c{number // 5:04d}-{number:04d}" if number % 10 else f"s{number:04d}" for number in range(count)]


def _columns(utterances: int, classes: int, split: str = "train") -> dict[str, Any]:
    names, numbers = _names(classes), np.arange(utterances)
    return {
        "id": [f"utterance-{number:08d}" for number in range(utterances)],
        "audiopath": [f"audio/{number % 1000:03d}/{split}-recording-{number:08d}.flac" for number in range(utterances)],
        "class": [names[number] for number in (numbers % classes).tolist()],
        "seconds": np.random.default_rng(0).uniform(3, 30, utterances).round(3),
        "speaker": [f"{split}-{number // _SPEAKERS_OF}" for number in range(utterances)],
    }


def _corpus(folder: Path, utterances: int, classes: int) -> Corpus:
    for split, count in (("train", utterances), ("dev", max(classes, utterances // 10))):
        write_manifest(folder / f"{split}.csv", _columns(count, classes, split))
    return Corpus(str(folder), None)


def _split(folder: Path, utterances: int, classes: int) -> tuple[Split, Corpus]:
    corpus = _corpus(folder, utterances, classes)
    manifest = corpus.manifest("train")
    counts = (manifest.columns["seconds"] * SAMPLE_RATE).astype(np.int64)
    return Split(manifest, corpus.labels.class_indices(manifest), np.zeros_like(counts), counts), corpus


def _probabilities(truth: np.ndarray, classes: int) -> np.ndarray:
    logits = np.random.default_rng(1).standard_normal((len(truth), classes))
    logits[np.arange(len(truth)), truth] += 2.0
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


# -- components: each makes its input, and returns the work to measure -----------------------------


def _reading(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    write_manifest(folder / "train.csv", _columns(utterances, classes))

    def work() -> None:
        manifest = read_manifest(folder / "train.csv")
        labels_from_manifest(manifest).class_indices(manifest)

    return work


def _labels(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    corpus = _corpus(folder, utterances, classes)
    write_labels(folder / "labels.yaml", corpus.labels)
    return lambda: (read_labels(folder / "labels.yaml"), limits_of_voices(corpus))


def _checking(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    corpus = _corpus(folder, utterances, classes)
    manifests = {name: corpus.manifest(name) for name in ("train", "dev")}

    def work() -> None:
        rows = Utterances.of(manifests)
        files = len(rows.file.names)
        frames = np.zeros(files, np.int64)
        frames[rows.file.codes] = rows.seconds * SAMPLE_RATE
        headers = Headers(
            fault=np.zeros(files, np.int8),
            frames=frames,
            sample_rate=np.full(files, SAMPLE_RATE, np.int32),
            channels=np.ones(files, np.int16),
            contradicts=np.zeros(files, bool),
        )
        check_corpus(Subject(rows, corpus.labels, headers))

    return work


def _planning(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    split, corpus = _split(folder, utterances, classes)
    _recorded(folder, split, corpus, 2)
    mapmix = {"mix": "latent", "anchors": "ambiguous", "partners": "easy", "targets": "confidence"}
    mapmix["datamap"] = str(folder / "run/datamap.csv")
    config = task_config({"mapmix": mapmix, "datamap": {"regions": "quantile", "easy_fraction": 0.4}})

    def work() -> None:
        plan = plan_training(config, split, corpus.labels, 0)
        plan.regions_digest()
        for _ in plan.sampler(0).batches(0):
            pass

    return work


def _recorded(folder: Path, split: Split, corpus: Corpus, epochs: int) -> Callable[[], None]:
    """Record epochs but the last; return what records the last one and updates the data map."""
    run = RunFolder(folder / "run")
    config = task_config({"datamap": {"regions": "quantile", "easy_fraction": 0.4}}).datamap
    recording = DynamicsRecording(run, split, corpus.labels, config)
    generator, classes = torch.Generator().manual_seed(0), torch.from_numpy(split.target_classes)
    logits = torch.randn((_BATCH, len(corpus.labels.classes)), generator=generator)

    def epoch(number: int) -> None:
        recording.start_epoch()
        for rows in torch.arange(len(classes)).split(_BATCH):
            recording.add(number, rows, classes[rows], logits[: len(rows)])

    for number in range(epochs - 2):
        recorder = EpochRecorder(len(classes), len(corpus.labels.classes))
        for rows in torch.arange(len(classes)).split(_BATCH):
            recorder.add(rows, classes[rows], logits[: len(rows)].softmax(dim=1))
        write_epoch(run.dynamics, number, recorder, recording.digest)
    epoch(epochs - 2)  # reads the epochs before it, once in a process
    return lambda: epoch(epochs - 1)


def _recording(folder: Path, utterances: int, classes: int, epochs: int = _EPOCHS) -> Callable[[], Any]:
    return _recorded(folder, *_split(folder, utterances, classes), epochs)


def _resuming(folder: Path, utterances: int, classes: int, epochs: int = _EPOCHS) -> Callable[[], Any]:
    split, corpus = _split(folder, utterances, classes)
    _recorded(folder, split, corpus, epochs)()
    config = task_config({"datamap": {"regions": "quantile"}}).datamap
    return DynamicsRecording(RunFolder(folder / "run"), split, corpus.labels, config).write_datamap


def _suspects(folder: Path, utterances: int, classes: int, epochs: int = _EPOCHS) -> Callable[[], Any]:
    generator = np.random.default_rng(0)
    targets = np.arange(utterances) % classes
    probabilities = generator.random((epochs, utterances), dtype=np.float32)
    predictions = generator.integers(classes, size=(epochs, utterances)).astype(np.min_scalar_type(classes - 1))
    return lambda: find_suspects(probabilities, predictions, targets, classes, 1_000)


def _scoring(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    split, corpus = _split(folder, utterances, classes)
    probabilities = _probabilities(split.target_classes, classes)
    return lambda: score(split, corpus.labels, probabilities)


def _bootstrap(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    split, corpus = _split(folder, utterances, classes)
    probabilities = _probabilities(split.target_classes, classes)
    return lambda: intervals(split, corpus.labels, probabilities, samples=_RESAMPLES)


def _calibration(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    truth = np.arange(utterances) % classes
    scores = logarithms(_probabilities(truth, classes))
    return lambda: fit("affine", scores, truth, _names(classes))


def _score_files(folder: Path, utterances: int, classes: int) -> Callable[[], Any]:
    columns, names = _columns(utterances, classes), _names(classes)
    values = logarithms(_probabilities(np.arange(utterances) % classes, classes))
    empty = np.full(utterances, "")

    def work() -> None:
        texts = {name: np.array(columns[name]) for name in ("id", "class", "speaker")}
        write_scores(
            folder / "test_scores.csv",
            ids=texts["id"],
            classes=names,
            truth=texts["class"],
            log_probabilities=values,
            seconds=columns["seconds"],
            group=empty,
            source=empty,
            speaker=texts["speaker"],
        )
        read_scores(folder / "test_scores.csv")

    return work


def _windows(folder: Path, seconds: int) -> Callable[[], Any]:
    path = folder / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        block = bytes(2 * SAMPLE_RATE * 60)
        for _ in range(seconds // 60):
            file.writeframesraw(block)

    def work() -> None:
        recording = Recording.of_file(path)
        windows = sliding_windows(np.array([recording.samples]), _WINDOW, _HOP)
        for batch in window_batches(windows[:, 2], 60.0, mix_lengths=True):
            for number in batch:
                recording.read(int(windows[number, 1]), int(windows[number, 2]))

    return work


def _segments(folder: Path, seconds: int) -> Callable[[], Any]:
    columns = _columns(_CLASSES, _CLASSES)
    labels = labels_from_manifest(Manifest(folder / "x.csv", {name: np.array(each) for name, each in columns.items()}))
    windows = sliding_windows(np.array([seconds * SAMPLE_RATE]), _WINDOW, _HOP)[:, 1:]
    generator = np.random.default_rng(0)
    probabilities = _probabilities(np.arange(len(windows)) // 20 % _CLASSES, _CLASSES)
    frames = round(_WINDOW * SAMPLE_RATE / 512)
    speech: list[Any] = [generator.random(frames) < _SPOKEN for _ in windows]
    hop = round(_HOP * SAMPLE_RATE)
    return lambda: find_segments(windows, probabilities, speech, labels, samples=seconds * SAMPLE_RATE, hop=hop)


def _score_file(utterances: int, seed: int) -> ScoreFile:
    truth = np.arange(utterances) % _CLASSES
    names, empty = np.array(_names(_CLASSES)), np.full(utterances, "")
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((utterances, _CLASSES))
    values[np.arange(utterances), truth] += 1.0 + 0.1 * generator.random()
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    ids = np.array([f"utterance-{number}" for number in range(utterances)])
    fields = {"classes": tuple(names.tolist()), "ids": ids, "truth": names[truth], "group": empty, "source": empty}
    fields |= {"predictions": names[values.argmax(axis=1)], "speaker": empty, "log_probabilities": values}
    return ScoreFile(path=Path("none"), seconds=np.full(utterances, 3.0), **fields)  # type: ignore[arg-type]


def _comparing(folder: Path, seeds: int, variants: int) -> Callable[[], Any]:
    files = [_score_file(500, number) for number in range(seeds * variants)]

    def work() -> None:
        clusters = np.arange(_CLASSES) // 4
        runs = [resample(one, one.log_probabilities, clusters, None, samples=_RESAMPLES) for one in files]
        rows = [{("data", seed): runs[variant * seeds + seed] for seed in range(seeds)} for variant in range(variants)]
        for column in runs[0].values:
            means = [float(np.mean([run.values[column] for run in row.values()])) for row in rows]
            best_row(column, means, rows, is_higher_better=column in ("acc", "wf1", "macro_f1", "c_acc"))

    return work


_OF_SIZE: dict[str, Callable[..., Callable[[], Any]]] = {
    "manifest: read, number classes": _reading,
    "labels.yaml, limits of voices": _labels,
    "check: columns": _checking,
    "plan, sampler: an epoch": _planning,
    "data map: an epoch's update": _recording,
    "data map: read to resume": _resuming,
    "1,000 suspects": _suspects,
    "scores of a split": _scoring,
    f"intervals by {_RESAMPLES} resamples": _bootstrap,
    "calibration (affine)": _calibration,
    "scores file: write, read": _score_files,
}
_BY_EPOCH = ("data map: an epoch's update", "data map: read to resume", "1,000 suspects")
_TABLES: dict[str, tuple[list[Any], list[str], dict[str, Callable[..., Callable[[], Any]]]]] = {
    "utterances": (
        [10_000, 100_000, 1_000_000],
        ["10,000 utterances", "100,000", "1,000,000"],
        {name: (lambda folder, size, make=make: make(folder, size, _CLASSES)) for name, make in _OF_SIZE.items()},
    ),
    "classes": (
        [20, 200, 2_000],
        ["20 classes", "200", "2,000"],
        {name: (lambda folder, size, make=make: make(folder, _UTTERANCES, size)) for name, make in _OF_SIZE.items()},
    ),
    "epochs": (
        [10, 100, 1_000],
        ["10 epochs", "100", "1,000"],
        {
            name: (lambda folder, size, make=_OF_SIZE[name]: make(folder, _UTTERANCES, _CLASSES, size))
            for name in _BY_EPOCH
        },
    ),
    "recording": (
        [60, 600, 3_600, 36_000],
        ["1 min", "10 min", "1 h", "10 h"],
        {"windows read from a wav": _windows, "segments of probabilities": _segments},
    ),
    "leaderboard": (
        [(3, 3), (10, 10), (30, 30)],
        ["3 seeds × 3 variants", "10 × 10", "30 × 30"],
        {f"comparison, 500 utterances, {_RESAMPLES} resamples": lambda folder, size: _comparing(folder, *size)},
    ),
}


# -- measuring -------------------------------------------------------------------------------------


def _measure(component: Callable[[Path, Any], Callable[[], Any]], size: Any) -> tuple[float, float]:
    """Return CPU seconds and peak MB of a component with a size, in a new process."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # A fork: lambdas cannot be sent. Nothing large was made here before.
    process = multiprocessing.get_context("fork").Process(target=_send, args=(component, size, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        sys.exit("a component failed")
    finally:
        process.join()


def _send(component: Callable[[Path, Any], Callable[[], Any]], size: Any, sender: Any) -> None:
    torch.set_num_threads(1)
    before = _memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        work = component(Path(folder), size)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
        begin = time.process_time()
        work()
        sender.send((time.process_time() - begin, (_memory("VmHWM") - before) / 1e3))


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
