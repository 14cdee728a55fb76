r"""Time of a Map-Mix training step, compared to a plain training loop with Hugging Face's transformers.

    .venv/bin/python bench/train_step.py
    .venv/bin/python bench/train_step.py --size xls_r_300m --device cuda --precision bf16 --batch 8 --seconds 8

Both have the same architecture, weights, crops, dropout and frozen convolutional front end, and do the same: mix
anchors and partners in latent space, forward, backward, gradient clipping, Adam.

ours   S3PRL's runner as patched by host/runner.py, its native upstream, the expert of lid_mapmix; without data loading.
plain  Wav2Vec2Model of transformers, one forward pass for the anchors and one for the partners; with autocast for
       --plain-precision bf16.

They alternate in one process: the loader of the runner makes a plain step before it returns each batch. Before that
both make some steps without dropout, whose losses must be equal. On a loaded machine CPU time is more reliable than
wall-clock time; with --threads 1 it contains no waiting. On a GPU the speed of a large bf16 matrix product is measured
too, and the fraction of it that the matrix products of the step reach is printed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lid_mapmix.apps.settings.arguments import make_parser, place_run
from lid_mapmix.apps.settings.from_flags import new_settings
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.host import compat, registry
from plain_loop import PlainLoop
from torch import nn
from torch.nn import functional

_SIZES = {
    # model_cfg of the checkpoints of wav2vec 2.0 base and of XLS-R 300M; no dropout where they were trained without.
    "tiny": {
        "conv_feature_layers": "[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2",
        "encoder_layers": 2,
        "encoder_embed_dim": 48,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
        "conv_pos": 16,
        "conv_pos_groups": 4,
    },
    "base": {},
    "xls_r_300m": {
        "extractor_mode": "layer_norm",
        "conv_bias": True,
        "layer_norm_first": True,
        "encoder_layers": 24,
        "encoder_embed_dim": 1024,
        "encoder_ffn_embed_dim": 4096,
        "encoder_attention_heads": 16,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "dropout_input": 0.0,
        "dropout_features": 0.0,
    },
}
_DROPOUTS = {"dropout_input": 0.1, "dropout_features": 0.1}
_CLASSES = ("ara-acm", "ara-apc", "eng-gbr", "eng-usg")
_CHECKED_STEPS = 2
# How far apart the losses of a few steps may be, as a share: rounding of the precision, grown by the steps.
_TOLERANCES = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 1e-2}


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(_SIZES), default="base")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision", choices=list(_TOLERANCES), default="fp32", help="precision of the runner; default: fp32"
    )
    parser.add_argument(
        "--plain-precision", choices=["fp32", "bf16"], default="fp32", help="precision of plain; default: fp32"
    )
    parser.add_argument("--batch", type=int, default=2, help="anchors per batch, each with a partner; default: 2")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a crop; default: 3")
    parser.add_argument("--repeats", type=int, default=9, help="timed steps of each; default: 9")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads of torch; default: %(default)s"
    )
    parser.add_argument("--set", default="", metavar="KEY=VALUE,,...", help="settings of the runner, as in -o")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compat.apply()
    registry.install_lazy_hub()
    registry.register_task("lid_mapmix", "lid_mapmix")
    with tempfile.TemporaryDirectory() as folder:
        runner = _make_runner(Path(folder), options)
        plain = PlainLoop(runner, options.device, options.plain_precision)
        turns = _Turns(runner, plain, options)
        runner.train()
        runner = None
    _print(turns, options)


def _model_settings(size: str) -> dict[str, Any]:
    return {**_DROPOUTS, **_SIZES[size], "encoder_layerdrop": 0.0}


def _make_runner(folder: Path, options: argparse.Namespace) -> Any:
    """Return S3PRL's runner, mended, for steps of latent mixup on random crops and a model of random weights."""
    from lid_mapmix.host.runner import make_runner  # noqa: PLC0415
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model  # noqa: PLC0415

    torch.manual_seed(0)
    model_settings = _model_settings(options.size)
    model = Wav2Vec2Model(Wav2Vec2Config(**model_settings))
    checkpoint = folder / "upstream.pt"
    torch.save(
        {"task_cfg": {"normalize": True}, "model_cfg": model_settings, "model_weight": model.state_dict()}, checkpoint
    )
    generator = np.random.default_rng(0)
    for split, count in (("train", options.batch), ("dev", 1)):
        rows = ["audiopath,class,seconds"]
        for label in _CLASSES:
            for number in range(count):
                name = f"{split}-{label}-{number}.wav"
                samples = round(options.seconds * SAMPLE_RATE)
                soundfile.write(folder / name, generator.normal(scale=0.1, size=samples).clip(-1, 1), SAMPLE_RATE)
                rows.append(f"{name},{label},{options.seconds}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    flags = ["-m", "train", "-d", "lid_mapmix", "-v", "latent_random", "-u", "wav2vec2_local", "-k", str(checkpoint)]
    flags += ["-f", "-s", "last_hidden_state", "--data", str(folder), "-p", str(folder / "run")]
    settings = {
        "runner.total_steps": _Turns.steps(options),
        "runner.eval_dataloaders": [],
        "runner.save_step": 10**9,
        **({"runner.precision": options.precision} if options.precision != "fp32" else {}),
        "downstream_expert.data.batch_size": options.batch,
        "downstream_expert.data.crop_seconds": options.seconds,
        "downstream_expert.data.workers": 0,
    }
    override = ",,".join([*(f"config.{key}={value}" for key, value in settings.items()), *filter(None, [options.set])])
    parsed = make_parser("").parse_args([*flags, "--device", options.device, "-o", override])
    place_run(parsed)
    made = new_settings(parsed)
    Path(made.args.expdir).mkdir()
    return make_runner(*made.for_s3prl("train"))


class _Turns:
    """The loader of the runner's only epoch, which times its steps and has the plain loop take turns with it."""

    def __init__(self, runner: Any, plain: PlainLoop, options: argparse.Namespace) -> None:
        self.runner, self.plain, self.options = runner, plain, options
        self.times: dict[str, list[float]] = {"ours": [], "plain": []}
        self.processor: dict[str, list[float]] = {"ours": [], "plain": []}
        self.losses: dict[str, list[float]] = {"ours": [], "plain": []}
        self.peaks: dict[str, float] = {"ours": 0.0, "plain": 0.0}
        expert = runner.downstream.model
        self._loss = expert.run.loss
        expert.run.loss = self._keep_loss
        batch = next(iter(expert.get_dataloader("train", epoch=0)))
        self.waveforms, self.batch = batch
        expert.get_dataloader = lambda split, epoch=None: self

    @staticmethod
    def steps(options: argparse.Namespace) -> int:
        """Return how many steps the runner makes: checked ones, one to warm up, timed ones, one that it saves after."""
        return _CHECKED_STEPS + 1 + options.repeats + 1

    def __len__(self) -> int:
        return self.steps(self.options)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        with _without_dropout(self.runner.upstream.model, self.plain.model):
            for _ in range(_CHECKED_STEPS):
                self._plain_step()
                yield self.waveforms, self.batch
        self._check_losses()
        for turn in range(self.options.repeats + 1):
            start = self._start()
            self._plain_step()
            self._end("plain", start, keep=turn > 0)
            start = self._start()
            yield self.waveforms, self.batch
            self._end("ours", start, keep=turn > 0)
        yield self.waveforms, self.batch

    def _start(self) -> tuple[float, float]:
        if self.plain.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        return time.perf_counter(), time.process_time()

    def _end(self, side: str, start: tuple[float, float], *, keep: bool) -> None:
        if self.plain.device.type == "cuda":
            torch.cuda.synchronize()
            self.peaks[side] = torch.cuda.max_memory_allocated() / 2**30
        if keep:
            self.times[side].append(time.perf_counter() - start[0])
            self.processor[side].append(time.process_time() - start[1])

    def _plain_step(self) -> None:
        batch = self.batch
        one_hot = functional.one_hot(torch.stack([batch.anchor_classes, batch.partner_classes]), len(_CLASSES)).float()
        # What Hugging Face's feature extractor does on the CPU.
        anchors, partners = functional.layer_norm(self.waveforms, self.waveforms.shape[1:]).chunk(2)
        loss = self.plain.step(anchors, partners, (one_hot[0], one_hot[1]), float(batch.weight[0]))
        self.losses["plain"].append(float(loss))

    def _keep_loss(self, *arguments: Any) -> torch.Tensor:
        loss = self._loss(*arguments)
        self.losses["ours"].append(loss.detach())
        return loss

    def _check_losses(self) -> None:
        options = self.options
        tolerance = max(_TOLERANCES[options.precision], _TOLERANCES[options.plain_precision])
        ours, plain = (torch.tensor([float(loss) for loss in self.losses[side]]) for side in ("ours", "plain"))
        difference = float(((ours - plain).abs() / plain).max())
        print(f"losses of {_CHECKED_STEPS} steps without dropout: {_numbers(ours)} ours, {_numbers(plain)} plain")
        assert difference <= tolerance, f"losses differ by {difference:.2g} of themselves; expected {tolerance:.2g}"


def _print(turns: _Turns, options: argparse.Namespace) -> None:
    medians = {side: statistics.median(times) for side, times in turns.times.items()}
    print(
        f"{options.size}, {options.batch} + {options.batch} crops of {options.seconds:g} s, {options.device}, "
        f"{torch.get_num_threads()} threads, {options.repeats} repeats:"
    )
    precisions = {"ours": options.precision, "plain": options.plain_precision}
    for side, median in medians.items():
        spread = f"{min(turns.times[side]):.3f} to {max(turns.times[side]):.3f}"
        peak = f", {turns.peaks[side]:.1f} GiB at most" if turns.peaks[side] else ""
        processor = statistics.median(turns.processor[side])
        print(
            f"{side:6}{precisions[side]:>6}{median:>9.3f} s a step, median ({spread}), {processor:.3f} s of CPU{peak}",
            flush=True,
        )
    ratios = sorted(plain / ours for plain, ours in zip(turns.times["plain"], turns.times["ours"], strict=True))
    processor = {side: statistics.median(times) for side, times in turns.processor.items()}
    print(
        f"ratio {medians['plain'] / medians['ours']:.2f} (per pair {ratios[0]:.2f} to {ratios[-1]:.2f}); "
        f"of CPU time {processor['plain'] / processor['ours']:.2f}"
    )
    if turns.plain.device.type == "cuda":
        rate, product = _matmul_rate(), turns.plain.operations(turns.waveforms) / medians["ours"]
        print(
            f"bf16 matrix products: {rate / 1e12:.0f} TFLOP/s measured; training step {product / 1e12:.0f} TFLOP/s, "
            f"{product / rate:.0%}"
        )


@contextmanager
def _without_dropout(*models: nn.Module) -> Iterator[None]:
    """Switch dropout off in both models, by what each calls it, during the block."""
    kept = []
    for module in (module for model in models for module in model.modules()):
        for name in ("p", "dropout"):
            value = getattr(module, name, None)
            if isinstance(value, float):
                kept.append((module, name, value))
                setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def _matmul_rate(size: int = 8192, repeats: int = 20) -> float:
    """Measure how many operations a second a large bf16 matrix product does on the GPU."""
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(one, other)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times)


def _numbers(values: torch.Tensor) -> str:
    return " ".join(f"{value:.5f}" for value in values.tolist())


if __name__ == "__main__":
    main()
