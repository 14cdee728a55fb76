"""Recording a step: inside real training steps of the demo model on noise, and by itself.

Used by bench/dynamics.py and bench/contention.py.
"""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lid_mapmix.apps.settings.arguments import TASK, make_parser
from lid_mapmix.apps.settings.from_flags import new_settings
from lid_mapmix.data.manifest.manifest import write_manifest
from lid_mapmix.host import compat, registry
from lid_mapmix.mapmix.dynamics import EpochRecorder

_DEMO = Path(__file__).resolve().parents[1] / "downstream/lid_mapmix/config/demo.yaml"
CLASSES = [f"x{number // 3}-y{number:02d}" for number in range(21)]  # as many as the demo corpus has
BATCH = 16  # as demo.yaml says
BATCHES = (BATCH, 64, 256)
CORPORA = (10_000, 1_000_000, 10_000_000)
_BURST = 30  # steps at a time; with the largest batch still less than an epoch of the smallest corpus
_WARM_UP = 4


class _Timed:
    """A recording whose steps are timed."""

    def __init__(self, recording: Any) -> None:
        self.recording = recording
        self.seconds: list[float] = []

    def add(self, *arguments: Any) -> None:
        start = time.perf_counter()
        self.recording.add(*arguments)
        self.seconds.append(time.perf_counter() - start)


def step_cost(folder: str, steps: int) -> dict[str, float]:
    """Return median seconds of a training step of the demo without and with recording, and of the recording in it."""
    runner = demo_runner(Path(folder) / "corpus", Path(folder) / "run")
    run = runner.downstream.model.run
    # Without the last, at which the epoch is complete and the map is written.
    batches = list(run.start_epoch(0))[:-1]
    recording, timed = run.recording, _Timed(run.recording)
    trained = [entry.model.train() for entry in runner.all_entries if entry.trainable]
    parameters = [parameter for model in trained for parameter in model.parameters()]
    optimizer = runner._get_optimizer(trained)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(_WARM_UP + steps):
        pair = number // 2 % len(batches)
        if pair == 0:
            recording.start_epoch()
        # Both of a pair take the same batch; which comes first changes from pair to pair.
        side = ("without", "with")[(number + number // 2) % 2]
        run.recording = timed if side == "with" else None
        start = time.perf_counter()
        train(runner, *batches[pair], parameters, optimizer)
        seconds[side].append(time.perf_counter() - start)
    medians = {side: float(np.median(times[_WARM_UP // 2 :])) for side, times in seconds.items()}
    return {**medians, "recording": float(np.median(timed.seconds[_WARM_UP // 2 :]))}


def train(runner: Any, waveforms: torch.Tensor, batch: Any, parameters: list, optimizer: Any) -> None:
    """Do one step as S3PRL's runner does."""
    inputs = list(waveforms)
    with torch.no_grad():
        features = runner.upstream.model(inputs)
    features = runner.featurizer.model(inputs, features)
    runner.downstream.model("train", features, batch, records=defaultdict(list)).backward()
    torch.nn.utils.clip_grad_norm_(parameters, runner.config["runner"]["gradient_clipping"])
    optimizer.step()
    optimizer.zero_grad()


def demo_runner(corpus: Path, expdir: Path) -> Any:
    """Return S3PRL's runner with the demo's settings on noise."""
    compat.apply()
    registry.install_lazy_hub()
    registry.register_task(TASK, "lid_mapmix")
    from lid_mapmix.host.runner import make_runner  # noqa: PLC0415 - imports S3PRL, which has to be mended first

    generator = np.random.default_rng(0)
    columns: dict[str, list] = {"audiopath": [], "class": [], "seconds": []}
    corpus.mkdir()
    for number in range(BATCH * len(CLASSES)):
        soundfile.write(corpus / f"{number}.wav", 0.1 * generator.standard_normal(64_000), 16_000)
        for name, value in zip(columns, (f"{number}.wav", CLASSES[number % len(CLASSES)], 4.0), strict=True):
            columns[name].append(value)
    write_manifest(corpus / "train.csv", columns)
    flags = ["-u", "fbank", "-v", "datamap", "-c", str(_DEMO), "--data", str(corpus), "-p", str(expdir)]
    flags += ["--device", "cpu", "-o", "config.runner.eval_dataloaders=[]"]
    settings = new_settings(make_parser("bench").parse_args(flags))
    return make_runner(*settings.for_s3prl("train"))


def recording_cost(bursts: int) -> dict[tuple[int, int], float]:
    """Return (corpus, batch) → median seconds to record a step: softmax, transfer, EpochRecorder.add."""
    seconds = defaultdict(list)
    for _ in range(bursts):
        for corpus in CORPORA:
            for batch in BATCHES:
                recorder = EpochRecorder(corpus, len(CLASSES))
                indices = torch.randint(corpus, (_BURST, batch))
                target_classes, logits = indices % len(CLASSES), torch.randn(_BURST, batch, len(CLASSES))
                for step in zip(indices, target_classes, logits, strict=True):
                    start = time.perf_counter()
                    recorder.add(*step[:2], step[2].float().softmax(dim=1))
                    seconds[corpus, batch].append(time.perf_counter() - start)
    return {key: float(np.median(values)) for key, values in seconds.items()}
