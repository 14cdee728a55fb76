r"""Speed of evaluating short files, compared to one file at a time; and memory of evaluating files of several hours.

    .venv/bin/python bench/evaluate.py
    .venv/bin/python bench/evaluate.py --device cuda --files 2000
    .venv/bin/python bench/evaluate.py --tables long --hours 3

short  utterances per second of `-m evaluate` (headers, windows, batches, filter banks and model, averaging, in S3PRL's
       runner) and of a plain loop (read a file, S3PRL's upstream, model, softmax), with the filter banks and the model
       of the demo, trained for some steps on files of 1 to 3 s; alternately in one process, with the same weights.
       Computing and writing scores is timed separately. CPU time is printed as well, since it depends less on other
       load.
long   peak memory of evaluating one file of several hours in windows, above that of a file of half a minute.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lid_mapmix.apps.runs import launch
from lid_mapmix.apps.settings.arguments import make_parser
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.manifest.manifest import write_manifest
from tidy import tidy_when_stopped

_DEMO = Path(__file__).resolve().parents[1] / "downstream/lid_mapmix/config/demo.yaml"
_CLASSES = ("xaa-one", "xaa-two", "ybb-one", "ybb-two")
_SAMPLE_RATE = 16_000
_TOLERANCE = 1e-5
_SIDES = ("one at a time", "evaluated")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["short", "long"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=["short"], help="default: short")
    parser.add_argument("--files", type=int, default=400, help="number of short files; default: 400")
    parser.add_argument("--repeats", type=int, default=7, help="repetitions; default: 7")
    parser.add_argument("--steps", type=int, default=40, help="training steps before the evaluation; default: 40")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads of torch; default: that of torch"
    )
    parser.add_argument("--workers", type=int, default=0, help="worker processes that read audio; default: 0")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--hours", type=float, default=3.0, help="duration of the long file; default: 3")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    tidy_when_stopped()
    torch.set_num_threads(options.threads)
    if options.peak_of is not None:
        _evaluate_alone(options.peak_of)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_corpus(folder, {"train": 64, "dev": 16, "test": options.files})
        _train(folder, options.steps)
        if "short" in options.tables:
            _print_short(folder, options)
        if "long" in options.tables:
            _print_long(folder, options.hours)


def _print_short(folder: Path, options: argparse.Namespace) -> None:
    runner = _make_runner(folder, options)
    upstream = _plain_upstream().to(options.device)
    rates: dict[str, list[float]] = {name: [] for name in (*_SIDES, "scores and files")}
    ratios, cpu_ratios, differences = [], [], []
    for repeat in range(options.repeats + 1):
        found, cpu = {}, {}
        for side in _SIDES if repeat % 2 else _SIDES[::-1]:
            begin, cpu_begin = time.perf_counter(), time.process_time()
            if side == _SIDES[0]:
                found[side], end = _one_at_a_time(runner, upstream, options.device), time.perf_counter()
            else:
                found[side], end = _evaluate(runner)
                rates["scores and files"].append(options.files / (time.perf_counter() - end))
            cpu[side] = time.process_time() - cpu_begin
            rates[side].append(options.files / (end - begin))
        differences.append(np.abs(found[_SIDES[0]] - found[_SIDES[1]]).max())
        ratios.append(rates[_SIDES[1]][-1] / rates[_SIDES[0]][-1])
        cpu_ratios.append(cpu[_SIDES[0]] / cpu[_SIDES[1]])
    device = torch.cuda.get_device_name(options.device) if "cuda" in options.device else f"{options.threads} threads"
    print(f"{options.files} files of 1 to 3 s, {options.device} ({device}), median of {options.repeats}:")
    for name, values in rates.items():
        print(f"{name:<18}{np.median(values[1:]):10.1f} utterances a second")
    top = found[_SIDES[0]].max(axis=1)
    print(f"largest difference {max(differences):.1e}; top probabilities from {top.min():.2f} to {top.max():.2f}")
    for name, values in (("ratio", ratios[1:]), ("ratio of CPU time, scores and files included", cpu_ratios[1:])):
        print(f"{name} {np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    assert max(differences) <= _TOLERANCE, "the scores differ"


def _one_at_a_time(runner: Any, upstream: torch.nn.Module, device: str) -> np.ndarray:
    expert = runner.downstream.model.eval()
    manifest = expert.corpus.split("test").manifest
    rows = []
    with torch.no_grad():
        for number in range(len(manifest)):
            audio, _ = soundfile.read(manifest.audio_path(number), dtype="float32")
            features = upstream([torch.from_numpy(audio).to(device)])["hidden_states"][0]
            count = torch.tensor([len(audio)], device=device)
            latents = expert.model.latents(list(features), torch.zeros_like(count), count)
            rows.append(expert.model.logits(latents).softmax(dim=1)[0].cpu().numpy())
    return np.stack(rows)


def _evaluate(runner: Any) -> tuple[np.ndarray, float]:
    """Return the probabilities, and when they were there, which is before they are scored."""
    evaluation = runner.downstream.model.evaluation
    # Or the headers would have been read already.
    evaluation.corpus = Corpus(str(evaluation.corpus.directory), evaluation.config.labels)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        noted = _Noted(evaluation)
        runner.evaluate()
    return noted.probabilities, noted.time


class _Noted:
    """Notes when an evaluation has its probabilities, and what they are."""

    def __init__(self, evaluation: Any) -> None:
        from lid_mapmix.evaluation import evaluator as module  # noqa: PLC0415

        score = module.score

        def noting(split: Any, labels: Any, probabilities: np.ndarray, *more: Any) -> dict:
            self.time, self.probabilities = time.perf_counter(), probabilities
            module.score = score
            return score(split, labels, probabilities, *more)

        module.score = noting


def _plain_upstream() -> Any:
    import s3prl.hub  # noqa: PLC0415 - on the mended stack

    return s3prl.hub.fbank().eval()


def _make_runner(folder: Path, options: argparse.Namespace) -> Any:
    from lid_mapmix.apps.runs.procedure import run_of_use  # noqa: PLC0415 - on the patched stack
    from lid_mapmix.host.runner import make_runner  # noqa: PLC0415

    flags = ["-m", "evaluate", "-e", str(folder / "run"), "--device", options.device]
    flags += ["-o", f"config.downstream_expert.data.workers={options.workers}"]
    stands_for = make_parser("evaluate").parse_args(flags)
    launch.prepare_use(stands_for)
    run = run_of_use(stands_for)
    upstream = run.settings.task.upstream_settings
    return make_runner(*run.settings.for_s3prl("evaluate"), upstream, corpus=run.corpus)


def _train(folder: Path, steps: int) -> None:
    overrides = [f"config.runner.total_steps={steps}", "config.downstream_expert.data.crop_seconds=1.0"]
    overrides += [f"config.runner.{key}={steps}" for key in ("eval_step", "save_step")]
    flags = ["-u", "fbank", "-v", "baseline", "-c", str(_DEMO), "--data", str(folder), "-p", str(folder / "run")]
    if launch.main([*flags, "--device", "cpu", "-o", ",,".join(overrides)]) != 0:
        raise SystemExit("the training failed")


def _print_long(folder: Path, hours: float) -> None:
    print(f"peak of an evaluation of one file of {hours:g} hours, 44.1 kHz, stereo, in windows of 6 s:")
    for suffix in ("wav", "flac"):
        peaks = []
        for seconds in (30.0, 3600 * hours):
            data = _write_long(folder / f"{suffix}-{seconds:.0f}", suffix, seconds)
            begin = time.perf_counter()
            flags = ["--peak-of", str(folder / "run"), "--threads", str(torch.get_num_threads())]
            done = subprocess.run(
                [sys.executable, __file__, *flags], cwd=data, capture_output=True, text=True, check=True
            )
            peaks.append(float(done.stdout.splitlines()[-1]))
        whole = 3600 * hours * 44_100 * 2 * 4 / 2**20
        print(
            f"{suffix:<6}{peaks[1]:8.0f} MiB, {peaks[1] - peaks[0]:+.0f} MiB to that of 30 s; the file, decoded, has "
            f"{whole:.0f} MiB; {time.perf_counter() - begin:.0f} s"
        )


def _evaluate_alone(run: Path) -> None:
    """Evaluate the data of the working directory by the command line and print the peak memory in MiB."""
    flags = ["-m", "evaluate", "-e", str(run), "--data", ".", "-p", "scores", "--device", "cpu"]
    if launch.main([*flags, "-o", "config.downstream_expert.data.workers=0"]) != 0:
        raise SystemExit("the evaluation failed")
    # Not getrusage's, which counts the process that this one was started by as well.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10)


def _write_long(folder: Path, suffix: str, seconds: float) -> Path:
    folder.mkdir()
    minute = np.stack([_hum(60.0, 200.0, number, 44_100) for number in range(2)], axis=1)
    with soundfile.SoundFile(folder / f"long.{suffix}", "w", 44_100, 2, "PCM_16") as file:
        left = round(seconds * 44_100)
        while left > 0:
            file.write(minute[:left])
            left -= len(minute)
    _write_test(folder, [f"long.{suffix}"], [_CLASSES[0]], [seconds])
    return folder


def _write_corpus(folder: Path, sizes: dict[str, int]) -> None:
    generator = np.random.default_rng(0)
    for split, size in sizes.items():
        paths, classes, lengths = [], [], []
        for number in range(size):
            name = _CLASSES[number % len(_CLASSES)]
            paths.append(f"{split}-{number}.wav")
            classes.append(name)
            lengths.append(round(float(generator.uniform(1, 3)), 3))
            pitch = 110 * 1.2 ** _CLASSES.index(name) * generator.uniform(0.9, 1.1)
            soundfile.write(folder / paths[-1], _hum(lengths[-1], pitch, number, _SAMPLE_RATE), _SAMPLE_RATE)
        _write_manifest(folder / f"{split}.csv", paths, classes, lengths)


def _write_test(folder: Path, paths: Sequence[str], classes: Sequence[str], lengths: Sequence[float]) -> None:
    _write_manifest(folder / "test.csv", paths, classes, lengths)


def _write_manifest(path: Path, paths: Sequence[str], classes: Sequence[str], lengths: Sequence[float]) -> None:
    write_manifest(path, {"audiopath": list(paths), "class": list(classes), "seconds": list(lengths)})


def _hum(seconds: float, pitch: float, seed: int, sample_rate: int) -> np.ndarray:
    """Return (samples,) float32: a tone with vibrato in noise."""
    generator = np.random.default_rng(seed)
    moments = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * pitch * moments + 2 * np.sin(2 * np.pi * 5 * moments)
    tone = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 6))
    return (0.1 * tone + 0.05 * generator.standard_normal(len(moments))).astype(np.float32)


if __name__ == "__main__":
    main()
