r"""Memory, step time and checkpoint size of adapters (upstream.adapter) against full fine-tuning.

    .venv/bin/python bench/adapters.py
    .venv/bin/python bench/adapters.py --kinds mms_300m --seconds 4 --rank 8

Nothing is trained, and no model of the full depth is built. Parameters, and the tensors that a crop keeps for the
backward pass, are counted on a CPU as by bench/memory.py: on models of the real width with one and with two layers of
random weights; the difference is multiplied by the number of layers.

weights, Adam   4 bytes per weight, and 12 per trained weight (gradient and both moments of Adam)
per crop        what a crop keeps
recomputed      the same with runner.gradient_checkpointing: the input of each layer, and all of one layer
checkpoint      states-N.ckpt: 4 bytes per saved weight, and 8 per trained one (Adam)
step            CPU time of forward and backward pass and Adam for one crop, relative to full fine-tuning

The time is extrapolated too, from models with one and with three layers, by the median of the repetitions. On a GPU the
relation may differ. The head, CUDA's own memory, and what only one operation needs, are left out.
"""

import argparse
import statistics
import time
from argparse import Namespace
from typing import Any

import torch
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.host import compat, registry
from lid_mapmix.host.upstreams import UpstreamSettings, patch_upstream
from memory import KINDS, Kind, build_model, kept_bytes, run_forward

_FULL, _CASES = "full", ("full", "attention", "feed_forward")
_FLOAT, _TO_TRAIN, _SAVED_TO_TRAIN = 4, 12, 8
_FRAME_STEP = 320


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=["mms_300m", "mms_1b", "w2v_bert_2", "whisper_small", "whisper_large_v3"],
        default=["mms_300m", "mms_1b"],
        metavar="KIND",
        help="architectures; default: mms_300m mms_1b, which are those of XLS-R 300M and 1B",
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of a crop; default: 8")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters; default: 16")
    parser.add_argument("--timed-seconds", type=float, default=2.0, help="duration of a timed crop; default: 2")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps, 0 for none; default: 5")
    options = parser.parse_args()
    compat.apply()
    registry.install_lazy_hub()
    torch.manual_seed(0)
    print(f"rank {options.rank}, crops of {options.seconds:g} s, fp32; memory in MiB")
    columns = ["trained", "weights, Adam", "per crop", "recomputed", "checkpoint", "step"]
    print(f"{'':<30}" + "".join(f"{column:>15}" for column in columns))
    for kind in KINDS:
        if kind.name in options.kinds:
            _print(kind, options)


def _print(kind: Kind, options: argparse.Namespace) -> None:
    samples = round(options.seconds * SAMPLE_RATE)
    times = _step_seconds(kind, options) if options.repeats else {}
    for case in _CASES:
        counts = [_counts(_upstream(kind, layers, case, options.rank), samples) for layers in (1, 2)]
        weights, trained, kept = (one + (two - one) * (kind.layers - 1) for one, two in zip(*counts, strict=True))
        one_layer = counts[0][2]
        memory = (
            weights * _FLOAT + trained * _TO_TRAIN,
            kept,
            one_layer + (kind.layers - 1) * (samples // _FRAME_STEP) * kind.dim * _FLOAT,
            (weights if case == _FULL else trained) * _FLOAT + trained * _SAVED_TO_TRAIN,
        )
        cells = [f"{trained / 1e6:.2f} M", *(f"{each / 2**20:,.0f}" for each in memory)]
        if times:
            cells.append(f"{times[case] / times[_FULL]:.2f} x" if case != _FULL else f"{times[case]:.1f} s")
        name = case if case == _FULL else f"LoRA, {case}"
        print(f"{kind.name:<12}{name:<18}" + "".join(f"{cell:>15}" for cell in cells), flush=True)


def _upstream(kind: Kind, layers: int, case: str, rank: int) -> Any:
    adapter = None if case == _FULL else {"kind": "lora", "rank": rank, "alpha": 2.0 * rank, "targets": case}
    upstream = build_model(kind, layers)
    arguments = Namespace(upstream="hf_auto", upstream_ckpt=kind.name)
    patch_upstream(upstream, arguments, UpstreamSettings(adapter=adapter), {})
    return upstream.train()


def _counts(upstream: Any, samples: int) -> tuple[int, int, int]:
    """Return the numbers of all and of trained parameters, and the bytes that a crop keeps."""
    kept = kept_bytes(lambda waveforms: run_forward(upstream, waveforms), upstream, samples, "fp32")
    sizes = [(one.numel(), one.requires_grad) for one in upstream.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained), kept


def _step_seconds(kind: Kind, options: argparse.Namespace) -> dict[str, float]:
    """Return the CPU time of a step of the full depth per case; the cases take turns."""
    crop = torch.randn(1, round(options.timed_seconds * SAMPLE_RATE))
    medians: dict[str, list[float]] = {case: [] for case in _CASES}
    for layers in (1, 3):
        steps = {}
        for case in _CASES:
            upstream = _upstream(kind, layers, case, options.rank)
            learning = [one for one in upstream.parameters() if one.requires_grad]
            steps[case] = upstream, torch.optim.Adam(learning, lr=1e-5, fused=True), []
        for _ in range(options.repeats + 1):
            for upstream, optimizer, seconds in steps.values():
                began = time.process_time()
                upstream(list(crop))["last_hidden_state"].square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
                seconds.append(time.process_time() - began)
        for case, (_, _, seconds) in steps.items():
            medians[case].append(statistics.median(seconds[1:]))  # the first step makes Adam's state
    return {case: one + (three - one) / 2 * (kind.layers - 1) for case, (one, three) in medians.items()}


if __name__ == "__main__":
    main()
