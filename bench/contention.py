r"""Time of a training step of the demo beside other work: OpenMP as it is by default, and as the commands set it.

    .venv/bin/python bench/contention.py
    .venv/bin/python bench/contention.py --loops 0 --after MALLOC_TRIM_THRESHOLD_=1000000000

Two processes train the demo's network on noise, and take turns: one as it is without lid_mapmix's choice of threads
(before), one with it (after). Beside them run busy loops, of which each takes a core or a fraction of it.

A step's fair share is the time that it takes alone, divided by the fraction of a core that a busy loop gets meanwhile.
The time alone is the shortest of all steps of both without a busy loop; on a loaded machine it is too long. The ratio
of both sides holds there too.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tidy import tidy_when_stopped

_LOOP = "while True: pass"
_SIDES = ("before", "after")
_WARM_UP = 3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 2], help="busy loops; default: 0 1 2")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each; default: %(default)s")
    for side in _SIDES:
        parser.add_argument(
            f"--{side}", nargs="*", default=[], metavar="NAME=VALUE", help=f"variables of the environment {side}"
        )
    parser.add_argument("--serve", choices=_SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve)
        return
    tidy_when_stopped()
    trainers = {side: _Trainer(side, getattr(options, side)) for side in _SIDES}
    try:
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; threads: ", end="")
        print(", ".join(f"{trainer.threads} {side}" for side, trainer in trainers.items()))
        seconds, processor, shares = _measure(trainers, options)
    finally:
        for trainer in trainers.values():
            trainer.end()
    alone = min(time for side in _SIDES for time in seconds[side, 0]) if 0 in options.loops else None
    print(f"seconds of a step, median of {options.repeats} turns of {options.steps}; processor seconds in brackets")
    print(f"{'loops':6}{'before':>16}{'after':>16}{'before / after':>16}{'share':>8}{'after / fair':>14}")
    for loops in options.loops:
        wall, cpu = ({side: statistics.median(found[side, loops]) for side in _SIDES} for found in (seconds, processor))
        pairs = zip(seconds["before", loops], seconds["after", loops], strict=True)
        cells = [f"{wall[side]:.2f} ({cpu[side]:.2f})" for side in _SIDES]
        line = f"{loops:<6}{cells[0]:>16}{cells[1]:>16}{statistics.median(a / b for a, b in pairs):>16.2f}"
        if loops and alone is not None:
            share = statistics.median(shares[loops])
            line += f"{share:>8.2f}{wall['after'] * share / alone:>14.2f}"
        print(line, flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def _measure(trainers: dict, options: argparse.Namespace) -> tuple[dict, dict, dict]:
    """Return (side, loops) → seconds, and processor seconds, of the steps; loops → share of a loop beside `after`."""
    seconds, processor, shares = defaultdict(list), defaultdict(list), defaultdict(list)
    for repeat in range(options.repeats):
        for loops in options.loops:
            busy = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(loops)]
            try:
                for side in _SIDES[:: 1 if repeat % 2 else -1]:
                    began, used = time.perf_counter(), [_used(each.pid) for each in busy]
                    wall, cpu = trainers[side].train(options.steps)
                    seconds[side, loops].append(wall)
                    processor[side, loops].append(cpu)
                    if busy and side == "after":
                        took = time.perf_counter() - began
                        gained = [_used(each.pid) - before for each, before in zip(busy, used, strict=True)]
                        shares[loops].append(statistics.mean(gained) / took)
            finally:
                for each in busy:
                    each.kill()
                    each.wait()
    return seconds, processor, shares


def _used(process: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Trainer:
    """A process that trains when it is asked to."""

    def __init__(self, side: str, variables: list[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        environment.update(dict(each.split("=", 1) for each in variables))
        command = [sys.executable, __file__, "--serve", side]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.threads = int(self._answer()[0])

    def train(self, steps: int) -> tuple[float, float]:
        """Return seconds, and processor seconds, of a step."""
        self._process.stdin.write(f"{steps}\n")
        wall, cpu = self._answer()
        return float(wall), float(cpu)

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> list[str]:
        while line := self._process.stdout.readline():
            if line.startswith("answer "):
                return line.split()[1:]
        sys.exit("a training process has ended")


def _serve(side: str) -> None:
    """Train as many steps as each line of standard input says."""
    if side == "after":
        from lid_mapmix.utils.threads import set_threads  # noqa: PLC0415

        set_threads()
    import torch  # noqa: PLC0415 - reads the environment
    from dynamics_step import demo_runner, train  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        runner = demo_runner(Path(folder) / "corpus", Path(folder) / "run")
        batch = next(iter(runner.downstream.model.run.start_epoch(0)))
    trained = [entry.model.train() for entry in runner.all_entries if entry.trainable]
    parameters = [parameter for model in trained for parameter in model.parameters()]
    optimizer = runner._get_optimizer(trained)
    runner.downstream.model.run.recording = None  # an epoch never ends here
    for _ in range(_WARM_UP):
        train(runner, *batch, parameters, optimizer)
    print("answer", torch.get_num_threads(), flush=True)
    for line in sys.stdin:
        began, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            train(runner, *batch, parameters, optimizer)
        print("answer", (time.perf_counter() - began) / int(line), (time.process_time() - used) / int(line), flush=True)


if __name__ == "__main__":
    main()
