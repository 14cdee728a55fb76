"""Run the jobs of a grid in parallel, each in its own process; several leaderboards may work on one grid.

A running job holds a lock in its folder. Its process inherits the lock and keeps it until it ends, even if the
leaderboard is killed. A job that another process holds is skipped, and resumed if that process ends before it is
complete. A failed job is tried once more, then reported; the other jobs continue.
"""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from ...utils.files import write_text
from ...utils.one_line import one_line
from ...utils.run_folder import RunFolder
from ...utils.threads import shared_environment
from ..report.tables import versions
from .jobs import Job, datamap_flags, spent
from .state import SETTINGS_NAME, State, Status, checked_state, write_state

POLL_SECONDS = 0.2  # seconds
_END_TIMEOUT = 20.0  # seconds until an interrupted run is killed
_ATTEMPTS = 2
_LOCK = ".leaderboard.lock"
_OUTPUT = "output.txt"
# Folder, in that of a run, that the published command of the run writes.
_AGAIN = "again"
# The name of the package; the leaderboard is not used under stock S3PRL, where it is a subpackage.
_PACKAGE = __package__.split(".", maxsplit=1)[0]


class Work:
    """The pending jobs, and the states of the others.

    `jobs`: all jobs, each after the data map that it needs. `devices`: devices of the workers in turn; empty for the
    default device.
    """

    def __init__(self, jobs: Sequence[Job], root: Path, devices: Sequence[str] = ()) -> None:
        self._pending, self._root, self._devices = list(jobs), root, devices
        self.outcomes: dict[Path, State] = {}
        self._began = time.time()
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._environment: dict[str, str] = {}
        shown = "{desc}: {n_fmt} of {total_fmt} {bar} {elapsed}{postfix}"
        self._bar: tqdm = tqdm(total=len(jobs), desc="grid", bar_format=shown, file=sys.stderr, disable=None)
        self._running: list[str] = []

    def work(self, workers: int) -> None:
        """Run all jobs, `workers` in parallel, until each is complete or failed; an interruption ends runs first."""
        self._environment = shared_environment(workers)
        with self._bar, ThreadPoolExecutor(workers) as pool:
            working = [pool.submit(self._work, number) for number in range(workers)]
            try:
                while wait(working, POLL_SECONDS).not_done:
                    self._bar.refresh()  # its elapsed time
            except KeyboardInterrupt:
                tqdm.write("interrupted: waiting for running jobs to end", file=sys.stderr)
                raise
            finally:
                self._stop.set()
        for worker in working:
            worker.result()

    def _work(self, number: int) -> None:
        device = self._devices[number % len(self._devices)] if self._devices else None
        try:
            while not self._stop.is_set() and self._pending:
                with ExitStack() as held:
                    claimed = self._claim(held)
                    if claimed is not None:
                        job, lock = claimed
                        self._report(job, self._train(job, device, lock))
                if claimed is None:
                    self._stop.wait(POLL_SECONDS)
        except BaseException:
            self._stop.set()  # the other workers end too
            raise

    def _claim(self, held: ExitStack) -> tuple[Job, int] | None:
        """Return a free job and its lock, which is entered into `held`; None if no job is free now."""
        with self._guard:
            for job in list(self._pending):
                if job.datamap is not None:
                    datamap = self.outcomes.get(job.datamap.folder)
                    if datamap is None:
                        continue
                state = checked_state(job.folder, job.request)
                if self._is_settled(state):
                    self._report(job, state, is_new=False)
                elif (lock := self._hold(job, held)) is not None:
                    self._pending.remove(job)
                    return job, lock
        return None

    def _is_settled(self, state: State) -> bool:
        """Return whether a job is complete, or has failed since this leaderboard started, in any process."""
        return state.status is Status.COMPLETE or (state.status is Status.FAILED and state.failed >= self._began)

    def _hold(self, job: Job, held: ExitStack) -> int | None:
        job.folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout, BlockingIOError), ExitStack() as acquired:
            lock = acquired.enter_context((job.folder / _LOCK).open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of filelock's kind, but a child process can inherit it
            # The run may be training outside of any leaderboard.
            with FileLock(RunFolder(job.folder).lock, timeout=0):
                pass
            # Its state may have changed since it was read.
            if self._is_settled(checked_state(job.folder, job.request)):
                return None
            held.enter_context(acquired.pop_all())
            return lock.fileno()
        return None

    def _report(self, job: Job, state: State, *, is_new: bool = True) -> None:
        """Record the outcome of a job, and print it."""
        if job in self._pending:
            self._pending.remove(job)
        if self._stop.is_set() and state.status is Status.RUNNING:
            return
        self.outcomes[job.folder] = state
        if is_new:
            detail = f": {state.fault}" if state.status is Status.FAILED else f", {state.seconds:.0f} s"
            _log(f"{job.title}: {state.status}{detail}")
        self._bar.update()

    def _train(self, job: Job, device: str | None, lock: int) -> State:
        """Run a job in its own process, and once more if it fails."""
        state = checked_state(job.folder, job.request)
        write_text(job.folder / SETTINGS_NAME, yaml.safe_dump(dict(job.settings), sort_keys=False))
        datamap = "" if job.datamap is None else os.path.relpath(job.datamap.folder, self._root.resolve())
        fields = {
            "request": job.request,
            "steps": job.steps,
            "datamap": datamap,
            "command": self._command(job, datamap),
            "versions": dict(versions()),
        }
        # A killed attempt has left checkpoints but no state.
        seconds = spent(job.folder, state)
        if fault := self._obstacle(job):
            return write_state(job.folder, state, **fields, status=Status.FAILED, failed=time.time(), fault=fault)
        self._show(job, is_running=True)
        output = job.folder / _OUTPUT
        for attempt in range(1, _ATTEMPTS + 1):
            began = time.time()
            printed = output.stat().st_size if output.is_file() else 0
            state = write_state(
                job.folder,
                state,
                **fields,
                status=Status.RUNNING,
                seconds=seconds,
                started=began,
                attempts=state.attempts + 1,
                fault="",
            )
            status = self._run(job, device, lock)
            seconds += time.time() - began
            if status == 0:
                state = write_state(job.folder, state, status=Status.COMPLETE, seconds=seconds)
                break
            if self._stop.is_set():
                state = write_state(job.folder, state, seconds=seconds, started=0.0)
                break
            fault = _fault_of(output, printed, status)
            # The state becomes `failed` only after the last attempt.
            if attempt == _ATTEMPTS:
                failed = {"status": Status.FAILED, "failed": time.time(), "fault": fault}
                state = write_state(job.folder, state, seconds=seconds, **failed)
            else:
                _log(f"{job.title}: failed, trying again: {fault}")
        self._show(job, is_running=False)
        return state

    def _obstacle(self, job: Job) -> str:
        """Return why a job cannot start; empty if it can."""
        if job.datamap is not None and (needed := self.outcomes[job.datamap.folder]).status is not Status.COMPLETE:
            return f"its data map failed: {needed.fault}"
        if job.data is not None and (changed := job.data.changed()):
            files = f"{job.data.corpus.directory}: {', '.join(sorted(changed))}"
            return f"{files}: changed since the leaderboard started. Run the command again."
        return ""

    def _run(self, job: Job, device: str | None, lock: int) -> int:
        # -a resumes an interrupted attempt, and starts if there is none.
        flags = ["-a", *job.flags, "-c", str(job.folder / SETTINGS_NAME), "-p", str(job.folder)]
        flags += [] if job.datamap is None else datamap_flags(RunFolder(job.datamap.folder).datamap)
        flags += ["--device", device] if device else []
        # The process of the run imports the package from the same place as this one.
        path = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
        environment = {**self._environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        command = [sys.executable, "-m", _PACKAGE, "run", *flags]
        return run_process(command, job.folder / _OUTPUT, environment, self._stop, lock)

    def _command(self, job: Job, datamap: str) -> str:
        """Return the command of a job with names instead of paths, for publication."""
        flags = list(job.flags)
        data = "" if job.data is None else job.data.name
        for flag, name in (("--data", data), ("-k", "WEIGHTS"), ("--cache-features", "CACHE")):
            if flag in flags:
                flags[flags.index(flag) + 1] = name
        # A bundle contains no data maps: the published command of the data map writes to its own `_AGAIN` folder.
        made = RunFolder(Path(datamap, _AGAIN)).datamap
        map_flags = datamap_flags(made) if datamap else []
        folder = os.path.relpath(job.folder, self._root.resolve())
        return shlex.join(
            ["lid-mapmix", "run", *flags, "-c", f"{folder}/{SETTINGS_NAME}", "-p", f"{folder}/{_AGAIN}", *map_flags]
        )

    def _show(self, job: Job, *, is_running: bool) -> None:
        """Show the running jobs, in a terminal."""
        with self._guard:
            (self._running.append if is_running else self._running.remove)(job.title)
            self._bar.set_postfix_str("; ".join(self._running))


def _log(text: str) -> None:
    tqdm.write(f"{time.strftime('%H:%M:%S')} {one_line(text)}", file=sys.stderr)


def run_process(
    command: Sequence[str], output: Path, environment: Mapping[str, str], stop: threading.Event, lock: int
) -> int:
    """Run a command to its end, interrupt it once `stop` is set, and return its exit status.

    `output`: file to append its output to. `stop`: set to interrupt it. `lock`: file descriptor that it inherits.
    """
    with output.open("a", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches only the leaderboard, which then interrupts the run.
            start_new_session=True,
            pass_fds=[lock],
        )
    while not stop.is_set():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)
    for number in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_END_TIMEOUT)
    return process.wait()


def _fault_of(output: Path, start: int, status: int) -> str:
    """Return the last error line of a run's output after position `start`, or its exit status."""
    with output.open("rb") as printed:
        printed.seek(start)
        lines = printed.read().decode(errors="replace").splitlines()
    # A negative status is the number of the signal that ended it.
    ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    fault = next((line for line in reversed(lines) if line.startswith("error: ")), ended)
    return f"{fault.removeprefix('error: ')} (see {output})"
