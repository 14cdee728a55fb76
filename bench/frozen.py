r"""Speed of an epoch with a frozen upstream whose features come from the cache.

    .venv/bin/python bench/frozen.py

Trains a classifier and the weighted sum of layers on a frozen wav2vec 2.0 of base size with random weights, in S3PRL's
native format, with the training command on the CPU: one epoch that fills the cache, then alternately epochs without and
with it, on the same crops. The time of an epoch is from the request of its first batch to the end of its last step:
audio, upstream, weighted sum, classifier, gradients, optimizer. The losses are compared.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lid_mapmix.apps.runs import launch
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.data.loader import TaskLoader
from lid_mapmix.data.manifest.manifest import write_manifest
from lid_mapmix.expert import DownstreamExpert
from lid_mapmix.host import compat, registry

_AUDIO_SECONDS = 12
# float16 keeps 11 bits of each feature.
_LOSS_TOLERANCE = 2e-3


@dataclass
class Epoch:
    """What an epoch took, and the loss of each of its steps."""

    seconds: float
    losses: list[float]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=4, help="training utterances; default: 4")
    parser.add_argument("--batch-size", type=int, default=4, help="anchors per batch, each with a partner; default: 4")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; default: 3")
    parser.add_argument("--layers", type=int, default=12, help="layers of the upstream; default: 12, as in base")
    parser.add_argument("--crop-seconds", type=float, default=8, help="duration of a crop; default: 8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_weights(folder / "base.pt", options.layers)
        _write_corpus(folder / "data", options.utterances)
        filling = _train(folder, "filling", options, cached=True)
        epochs: dict[bool, list[Epoch]] = {False: [], True: []}
        for repeat in range(options.repeats):
            for cached in (False, True) if repeat % 2 else (True, False):
                epochs[cached].append(_train(folder, f"{repeat}-{cached}", options, cached=cached))
        size = sum(path.stat().st_blocks * 512 for path in (folder / "cache").rglob("*.f16"))
    _print(filling, epochs, size, options)


def _print(filling: Epoch, epochs: dict[bool, list[Epoch]], size: int, options: argparse.Namespace) -> None:
    plain, cached = (float(np.median([epoch.seconds for epoch in epochs[side]])) for side in (False, True))
    differences = [
        abs(one / other - 1)
        for epoch in epochs[True]
        for one, other in zip(epoch.losses, epochs[False][0].losses, strict=True)
    ]
    print(
        f"\n{options.utterances} anchors and as many partners, crops of {options.crop_seconds:g} s, "
        f"{options.layers} layers, {torch.get_num_threads()} threads, median of {options.repeats}; "
        f"the cache takes {size / 10**6:.0f} MB"
    )
    print(f"an epoch without the cache  {plain:8.2f} s")
    print(f"one that fills it           {filling.seconds:8.2f} s")
    print(f"one from the cache          {cached:8.2f} s")
    print(f"without / from the cache    {plain / cached:8.1f}")
    print(f"largest difference of a loss {max(differences):.1e} of it (at most {_LOSS_TOLERANCE:g} expected)")
    if max(differences) > _LOSS_TOLERANCE:
        raise SystemExit("the losses differ")


def _write_weights(path: Path, layers: int) -> None:
    compat.apply()
    registry.install_lazy_hub()
    model: Any = importlib.import_module("s3prl.upstream.wav2vec2.wav2vec2_model")
    config = model.Wav2Vec2Config(encoder_layers=layers)
    torch.manual_seed(0)
    weights = model.Wav2Vec2Model(config).state_dict()
    plain = {key: getattr(value, "value", value) for key, value in asdict(config).items()}
    torch.save({"task_cfg": {"normalize": False}, "model_cfg": plain, "model_weight": weights}, path)


def _write_corpus(folder: Path, utterances: int) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = [f"{number}.wav" for number in range(utterances)]
    for name in names:
        soundfile.write(folder / name, 0.1 * generator.standard_normal(_AUDIO_SECONDS * SAMPLE_RATE), SAMPLE_RATE)
    classes = [("xaa-one", "xaa-two")[number % 2] for number in range(utterances)]
    columns = {"audiopath": names, "class": classes, "seconds": [_AUDIO_SECONDS] * utterances}
    write_manifest(folder / "train.csv", columns)


def _train(folder: Path, name: str, options: argparse.Namespace, *, cached: bool) -> Epoch:
    """Train for one epoch."""
    begins: list[float] = []
    ends: list[float] = []
    losses: list[float] = []
    iterate, forward = TaskLoader.__iter__, DownstreamExpert.forward

    def timed(loader: TaskLoader) -> Iterator[Any]:
        begins.append(time.perf_counter())
        for batch in iterate(loader):
            yield batch
            ends.append(time.perf_counter())

    def noted(expert: DownstreamExpert, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss = forward(expert, *arguments, **keywords)
        losses.append(loss.item())
        return loss

    settings = {
        "runner.eval_dataloaders": [],
        # What is kept beside the training is not what is measured.
        "runner.save_step": 10**6,
        "optimizer.lr": 1e-3,
        "downstream_expert.epochs": 1,
        "downstream_expert.data.batch_size": options.batch_size,
        "downstream_expert.data.workers": 0,
        "downstream_expert.data.crop_seconds": options.crop_seconds,
        "downstream_expert.data.crop_step_seconds": options.crop_seconds / 2,
    }
    flags = ["-u", "wav2vec2_local", "-k", str(folder / "base.pt"), "--frozen", "-v", "latent_random"]
    flags += ["--data", str(folder / "data"), "-p", str(folder / name), "--device", "cpu"]
    flags += ["-o", ",,".join(f"config.{key}={value}" for key, value in settings.items())]
    flags += ["--cache-features", str(folder / "cache")] if cached else []
    TaskLoader.__iter__, DownstreamExpert.forward = timed, noted  # type: ignore[method-assign]
    try:
        if launch.main(flags) != 0:
            raise SystemExit("the training failed")
    finally:
        TaskLoader.__iter__, DownstreamExpert.forward = iterate, forward  # type: ignore[method-assign]
    return Epoch(ends[-1] - begins[0], losses)


if __name__ == "__main__":
    main()
