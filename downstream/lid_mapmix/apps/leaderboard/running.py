"""Runs the jobs of a grid, some at a time, each in a process of its own, beside others who work on the same grid.

A job is held by a lock in its folder while it is worked on, which its process inherits: it stays held until that ends,
whatever becomes of the leaderboard. One that somebody else holds is left to them, and taken over when they end without
it being complete. What fails is tried once more and then reported, without stopping the rest.
"""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from ...training.progress import Progress
from ...utils.files import write_text
from ...utils.run_folder import RunFolder
from ..report.tables import versions
from .jobs import Job, spent
from .state import SETTINGS_NAME, State, Status, checked_state, write_state

LOOK_EVERY = 0.2  # seconds
_TO_END = 20.0  # seconds that a run has to end once it is interrupted
_ATTEMPTS = 2
_SHOW_EVERY = 1.0  # seconds
_LOCK = ".leaderboard.lock"
_OUTPUT = "output.txt"
# In a run's folder, where its command, given by somebody else, makes it once more.
_AGAIN = "again"
# The whole package: below stock S3PRL it is no package of its own, and this is not used.
_PACKAGE = __package__.split(".", maxsplit=1)[0]


class Work:
    """The jobs that are left, and what became of the others.

    Parameters
    ----------
    jobs : all, each after the data map that it needs.
    root : folder of the grid.
    devices : for the workers in turn; none for what the machine has.
    """

    def __init__(self, jobs: Sequence[Job], root: Path, devices: Sequence[str] = ()) -> None:
        self._pending, self._root, self._devices = list(jobs), root, devices
        self.outcomes: dict[Path, State] = {}
        self._began = time.time()
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._threads = 1
        self._bar: tqdm = tqdm(total=len(jobs), unit="run", desc="grid", file=sys.stderr, disable=None)
        self._at_work: dict[str, RunFolder] = {}
        self._shown = 0.0
        self._broken: BaseException | None = None

    def work(self, workers: int) -> None:
        """Work until all is complete or has failed, some at a time; an interruption ends the runs first."""
        # Those that this process may use: a job of a cluster has a few of its machine's.
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = max(1, processors // workers)
        ended = [threading.Event() for _ in range(workers)]
        threads = [threading.Thread(target=self._work, args=(number, ended[number])) for number in range(workers)]
        for thread in threads:
            thread.start()
        try:
            # A join that is interrupted takes its thread for ended (CPython 3.11), and its run would be left alone.
            while not all(each.wait(LOOK_EVERY) for each in ended):
                self._refresh()
        except KeyboardInterrupt:
            tqdm.write("interrupted: the runs that are at work end first", file=sys.stderr)
            raise
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            self._bar.close()
        if self._broken is not None:
            raise self._broken

    def _work(self, number: int, ended: threading.Event) -> None:
        device = self._devices[number % len(self._devices)] if self._devices else None
        try:
            while not self._stop.is_set() and self._pending:
                with ExitStack() as held:
                    claimed = self._claim(held)
                    if claimed is not None:
                        job, lock = claimed
                        self._report(job, self._train(job, device, lock))
                if claimed is None:
                    self._stop.wait(LOOK_EVERY)
        # Whatever it is: raised again by the thread that waits for this one.
        except BaseException as error:  # noqa: BLE001
            self._broken = error
            self._stop.set()
        finally:
            ended.set()

    def _claim(self, held: ExitStack) -> tuple[Job, int] | None:
        """Return a job that nobody works on and its lock, which is in `held`; None where there is none just now."""
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
        """Say whether a job is complete, or has failed since this began, whoever worked on it."""
        return state.status is Status.COMPLETE or (state.status is Status.FAILED and state.failed >= self._began)

    def _hold(self, job: Job, held: ExitStack) -> int | None:
        job.folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout, BlockingIOError), ExitStack() as mine:
            lock = mine.enter_context(_locked(job.folder / _LOCK))
            # Somebody may train it by hand.
            with FileLock(RunFolder(job.folder).lock, timeout=0):
                pass
            # It may have been completed, or have failed, since its state was read.
            if self._is_settled(checked_state(job.folder, job.request)):
                return None
            held.enter_context(mine.pop_all())
            return lock
        return None

    def _report(self, job: Job, state: State, *, is_new: bool = True) -> None:
        """Take note of what became of a job, and say so in a line."""
        if job in self._pending:
            self._pending.remove(job)
        if self._stop.is_set() and state.status is Status.RUNNING:
            return
        self.outcomes[job.folder] = state
        if is_new:
            said = f": {state.fault}" if state.status is Status.FAILED else f", {state.seconds:.0f} s"
            _say(f"{job.title}: {state.status}{said}")
        self._bar.update()

    def _train(self, job: Job, device: str | None, lock: int) -> State:
        """Run a job in a process of its own, and once more where it fails."""
        state = checked_state(job.folder, job.request)
        write_text(job.folder / SETTINGS_NAME, yaml.safe_dump(dict(job.settings), sort_keys=False))
        datamap = "" if job.datamap is None else os.path.relpath(job.datamap.folder, self._root.resolve())
        asked = {
            "request": job.request,
            "steps": job.steps,
            "datamap": datamap,
            "command": self._command(job, datamap),
            "versions": dict(versions()),
        }
        # An attempt that was killed has left what it came to, and no word.
        seconds = spent(job.folder, state)
        if fault := self._obstacle(job):
            return write_state(job.folder, state, **asked, status=Status.FAILED, failed=time.time(), fault=fault)
        self._show(job, is_at_work=True)
        for attempt in range(1, _ATTEMPTS + 1):
            began, printed = time.time(), _size_of(job.folder / _OUTPUT)
            state = write_state(
                job.folder,
                state,
                **asked,
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
            fault = _fault_of(job.folder / _OUTPUT, printed, status)
            # Others take it for failed only once it is not tried again.
            if attempt == _ATTEMPTS:
                failed = {"status": Status.FAILED, "failed": time.time(), "fault": fault}
                state = write_state(job.folder, state, seconds=seconds, **failed)
            else:
                _say(f"{job.title}: failed, is tried again: {fault}")
        self._show(job, is_at_work=False)
        return state

    def _obstacle(self, job: Job) -> str:
        """Return what a job cannot be begun for; nothing where it can."""
        if job.datamap is not None and (needed := self.outcomes[job.datamap.folder]).status is not Status.COMPLETE:
            return f"its data map failed: {needed.fault}"
        if job.data is not None and (changed := job.data.changed()):
            files = ", ".join(sorted(changed))
            return f"{job.data.folder}: {files}: changed since this grid was begun. Start the command again."
        return ""

    def _run(self, job: Job, device: str | None, lock: int) -> int:
        # -a goes on with what an interrupted attempt has left, and starts anew where that is nothing.
        flags = ["-a", *job.flags, "-c", str(job.folder / SETTINGS_NAME), "-p", str(job.folder), *job.override()]
        flags += ["--device", device] if device else []
        # Wherever this process found the package, the run's finds the same.
        path = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
        environment = {"OMP_NUM_THREADS": str(self._threads), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        command = [sys.executable, "-m", _PACKAGE, "run", *flags]
        return run_process(command, job.folder / _OUTPUT, environment, self._stop, lock)

    def _command(self, job: Job, datamap: str) -> str:
        """Return the command of a job as somebody else would type it."""
        flags = list(job.flags)
        data = "" if job.data is None else job.data.name
        for flag, name in (("--data", data), ("-k", "WEIGHTS"), ("--cache-features", "CACHE")):
            if flag in flags:
                flags[flags.index(flag) + 1] = name
        # A bundle has no data maps: the command of the map comes first, and leaves it in such a folder, too.
        made = RunFolder(Path(datamap, _AGAIN)).datamap.as_posix()
        map_flags = ["-o", f"config.downstream_expert.mapmix.datamap={made}"] if datamap else []
        folder = os.path.relpath(job.folder, self._root.resolve())
        return shlex.join(
            ["lid-mapmix", "run", *flags, "-c", f"{folder}/{SETTINGS_NAME}", "-p", f"{folder}/{_AGAIN}", *map_flags]
        )

    def _show(self, job: Job, *, is_at_work: bool) -> None:
        with self._guard:
            if is_at_work:
                self._at_work[job.title] = RunFolder(job.folder)
            else:
                del self._at_work[job.title]

    def _refresh(self) -> None:
        """Show, where there is a terminal, what is at work and how far it is."""
        if not self._bar.disable and time.monotonic() > self._shown + _SHOW_EVERY:
            with self._guard:
                at_work = dict(self._at_work)
            self._bar.set_postfix_str("; ".join(f"{title} {_steps_made(each)}" for title, each in at_work.items()))
            self._shown = time.monotonic()


def _steps_made(folder: RunFolder) -> str:
    """Return the steps that a run has made, such as 120/240; empty before its first one."""
    progress = Progress.read(folder)
    return "" if progress is None else f"{progress.step}/{progress.of}"


def _say(text: str) -> None:
    tqdm.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold a lock and give its file descriptor, for a process to inherit; filelock, of whose kind it is, gives none.

    Raises
    ------
    BlockingIOError : somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def run_process(
    command: Sequence[str], output: Path, environment: Mapping[str, str], stop: threading.Event, lock: int
) -> int:
    """Run a command to its end, or until `stop` is set and it has ended for that, and return its exit status.

    Parameters
    ----------
    command : with its arguments.
    output : the file that what it prints is appended to.
    environment : its variables.
    stop : set when it is to end.
    lock : a file descriptor that it inherits.
    """
    with output.open("a", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            # An interruption from the keyboard reaches this process only, which then ends the run itself.
            start_new_session=True,
            pass_fds=[lock],
        )
    until = None
    while True:
        try:
            return process.wait(LOOK_EVERY)
        except subprocess.TimeoutExpired:
            if not stop.is_set():
                continue
        if until is None:
            os.killpg(process.pid, signal.SIGINT)
            until = time.monotonic() + _TO_END
        elif time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)


def _size_of(path: Path) -> int:
    """Return a file's size in bytes; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _fault_of(output: Path, start: int, status: int) -> str:
    """Return what a run said last, from a place in its output on, as far as it says what went wrong."""
    with output.open("rb") as printed:
        printed.seek(start)
        lines = printed.read().decode(errors="replace").splitlines()
    # A negative status is the number of the signal that has ended it.
    ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    said = next((line for line in reversed(lines) if line.startswith("error: ")), ended)
    return f"{said.removeprefix('error: ')} (see {output})"
