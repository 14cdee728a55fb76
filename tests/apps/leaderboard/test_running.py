"""Who works on what: two processes on one grid, a leaderboard that is killed, and one that is interrupted."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from helpers.launching import ROOT, listing, run_python
from lid_mapmix.apps.leaderboard import procedure, running
from lid_mapmix.apps.leaderboard.jobs import Job, describe
from lid_mapmix.apps.leaderboard.running import POLL_SECONDS
from lid_mapmix.apps.leaderboard.state import State, Status, read_state, write_state
from lid_mapmix.apps.runs import launch
from lid_mapmix.utils.errors import UserError

from .conftest import leaderboard, runs_in_process, write_grid

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'downstream'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
# Forked, so that they need not import torch anew.
FORK = multiprocessing.get_context("fork")


def make_jobs(root, *names, datamap=None):
    return [Job(name, root / name, ("-u", "x", "-v", "y"), {}, {"name": name}, 1, datamap=datamap) for name in names]


def wait_for(is_true, seconds=120):
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_two_processes_do_each_run_once(tmp_path, monkeypatch):
    names, meeting, ended = [f"job-{number}" for number in range(8)], FORK.Barrier(2), FORK.Queue()

    def run_process(command, output, environment, stop, lock):
        with (tmp_path / "made").open("a") as file:
            file.write(f"{os.getpid()} {output.parent.name}\n")
        time.sleep(0.2)
        return 0

    def work():
        meeting.wait(60)
        work = running.Work(make_jobs(tmp_path, *names), tmp_path)
        work.work(2)
        ended.put(sorted(path.name for path, state in work.outcomes.items() if state.status is Status.COMPLETE))

    monkeypatch.setattr(running, "run_process", run_process)
    processes = [FORK.Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    # Both know in the end that all is complete, whoever made it.
    assert [ended.get(timeout=60) for _ in processes] == [names] * 2
    for process in processes:
        process.join(60)
    made = [line.split() for line in (tmp_path / "made").read_text().splitlines()]
    assert sorted(folder for _, folder in made) == names
    assert {int(process) for process, _ in made} == {process.pid for process in processes}


def test_a_leaderboard_that_is_killed_and_started_again_completes_each_run_once(corpus, tmp_path):
    bench = write_grid(tmp_path, corpus, upstreams=["fbank"], variants=["baseline", "static"], seeds=[0])
    folders = [tmp_path / "grid/runs/fbank" / name / "corpus-seed-0" for name in ("baseline", "static")]
    command = [sys.executable, "-m", "lid_mapmix", "leaderboard", str(bench), "--devices", "cpu", "--samples", "10"]
    killed = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: read_state(folders[1]).status is Status.RUNNING)
    killed.kill()
    killed.wait()
    assert read_state(folders[0]).status is Status.COMPLETE
    first = listing(folders[0])
    # The second run's process has outlived it, and is waited for.
    with runs_in_process() as made:
        assert leaderboard(bench, "--samples", 10) == 0
    assert made == [folders[1]]
    assert listing(folders[0]) == first
    state = read_state(folders[1])
    assert state.status is Status.COMPLETE and state.attempts == 2
    assert "another process" not in (folders[1] / "output.txt").read_text()
    assert (tmp_path / "grid/leaderboard.html").is_file()


def test_a_run_ends_soon_once_it_is_to_stop(tmp_path):
    code = "import time\nprint('begun', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('ended')"
    stop, statuses = threading.Event(), []
    lock = FileLock(tmp_path / "lock", timeout=0)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        arguments = ([sys.executable, "-c", code], tmp_path / "output", dict(os.environ), stop, held.fileno())
        thread = threading.Thread(target=lambda: statuses.append(running.run_process(*arguments)))
        thread.start()
        wait_for(lambda: (tmp_path / "output").is_file() and "begun" in (tmp_path / "output").read_text())
    # What started the run has let go of the lock, as if it had been killed; the run has not.
    with pytest.raises(Timeout):
        lock.acquire()
    stop.set()
    thread.join(20)
    assert statuses == [0]
    with lock:
        pass
    assert (tmp_path / "output").read_text() == "begun\nended\n"


def test_an_interruption_ends_the_runs_and_leaves_them_to_go_on(tmp_path, monkeypatch):
    begun, said = FORK.Event(), tmp_path / "said"

    def run_process(command, output, environment, stop, lock):
        begun.set()
        assert stop.wait(60)
        return 130

    def work():
        with said.open("w") as file, contextlib.redirect_stderr(file):
            grid = running.Work(make_jobs(tmp_path, "one", "two"), tmp_path)
            status = launch.guarded(lambda: grid.work(1), debug=False, after_interruption="go on")
        os._exit(status)

    monkeypatch.setattr(running, "run_process", run_process)
    process = FORK.Process(target=work)
    process.start()
    assert begun.wait(60)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert said.read_text() == "interrupted: waiting for running jobs to end\ninterrupted; go on\n"
    assert [read_state(tmp_path / name).status for name in ("one", "two")] == [Status.RUNNING, Status.ABSENT]


def test_impatience_does_not_disturb_the_end_of_the_runs(tmp_path, monkeypatch):
    begun, stopped, ended = FORK.Event(), FORK.Event(), FORK.Event()

    def run_process(command, output, environment, stop, lock):
        begun.set()
        assert stop.wait(60)
        stopped.set()
        time.sleep(0.5)
        ended.set()
        return 130

    def work():
        with contextlib.suppress(KeyboardInterrupt), procedure._terminated_like_interrupted():
            running.Work(make_jobs(tmp_path, "one"), tmp_path).work(1)
        os._exit(130 if ended.is_set() else 1)

    monkeypatch.setattr(running, "run_process", run_process)
    process = FORK.Process(target=work)
    process.start()
    assert begun.wait(60)
    os.kill(process.pid, signal.SIGTERM)
    assert stopped.wait(60)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 130


def test_runs_wait_for_their_map_and_fail_with_it(tmp_path, monkeypatch):
    order = []

    def run_process(command, output, environment, stop, lock):
        order.append(output.parent.name)
        with output.open("a") as file:
            file.write("error: no good map\n")
        return int(output.parent.name == "bad")

    monkeypatch.setattr(running, "run_process", run_process)
    (good, bad) = make_jobs(tmp_path, "good", "bad")
    jobs = [bad, *make_jobs(tmp_path, "lost", datamap=bad), good, *make_jobs(tmp_path, "won", datamap=good)]
    work = running.Work(jobs, tmp_path)
    work.work(3)
    assert order.count("bad") == 2 and order.count("won") == 1 and "lost" not in order
    assert order.index("good") < order.index("won")
    lost = work.outcomes[tmp_path / "lost"]
    assert lost.status is Status.FAILED
    assert lost.fault.startswith("its data map failed: no good map")
    # Who reads the folder, as the tables do, is told as well.
    assert read_state(tmp_path / "lost") == lost
    assert lost.attempts == 0
    assert work.outcomes[tmp_path / "won"].datamap == "good"


def test_a_fault_of_the_leaderboard_itself_is_raised(tmp_path, monkeypatch):
    def run_process(*_):
        raise MemoryError("none left")

    monkeypatch.setattr(running, "run_process", run_process)
    work = running.Work(make_jobs(tmp_path, "one", "two"), tmp_path)
    try:
        work.work(1)
    except MemoryError as error:
        assert str(error) == "none left"
    else:
        raise AssertionError("nothing was raised")
    # The locks are free again.
    with FileLock(tmp_path / "one" / ".leaderboard.lock", timeout=0):
        pass


def test_a_run_that_is_tried_again_is_waited_for_by_others(tmp_path, monkeypatch):
    tried, may_end, calls = threading.Event(), threading.Event(), []

    def run_process(command, output, environment, stop, lock):
        calls.append(output)
        if len(calls) == 1:
            output.write_text("error: no luck\n")
            return 1
        tried.set()
        assert may_end.wait(60)
        return 0

    monkeypatch.setattr(running, "run_process", run_process)
    own, other = (running.Work(make_jobs(tmp_path, "one"), tmp_path) for _ in range(2))
    threads = [threading.Thread(target=work.work, args=(1,)) for work in (own, other)]
    threads[0].start()
    assert tried.wait(60)
    threads[1].start()
    time.sleep(3 * POLL_SECONDS)
    # It has failed once since both began, and still is at work.
    assert other.outcomes == {}
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert [work.outcomes[tmp_path / "one"].status for work in (own, other)] == [Status.COMPLETE] * 2
    assert len(calls) == 2


def test_what_a_run_is_said_to_have_failed_for_is_of_its_last_attempt(tmp_path, monkeypatch):
    statuses = iter([1, -9])

    def run_process(command, output, environment, stop, lock):
        status = next(statuses)
        with output.open("a") as file:
            file.write("error: mended since\n" if status == 1 else "step 3\n")
        return status

    monkeypatch.setattr(running, "run_process", run_process)
    work = running.Work(make_jobs(tmp_path, "one"), tmp_path)
    work.work(1)
    assert work.outcomes[tmp_path / "one"].fault == f"was ended by SIGKILL (see {tmp_path / 'one/output.txt'})"


def test_the_time_of_an_attempt_that_was_killed_counts_up_to_its_last_checkpoint(tmp_path, monkeypatch):
    (job,) = make_jobs(tmp_path, "one")
    started = time.time() - 1000
    write_state(job.folder, State(), request=job.request, status=Status.RUNNING, started=started, attempts=1)
    (job.folder / "states-6.ckpt").touch()
    os.utime(job.folder / "states-6.ckpt", (started + 60, started + 60))
    assert describe([replace(job, steps=9)])[1].split() == ["one", "running", "3", "60", "s"]
    monkeypatch.setattr(running, "run_process", lambda *_: 0)
    work = running.Work([job], tmp_path)
    work.work(1)
    state = work.outcomes[job.folder]
    assert state.status is Status.COMPLETE
    assert state.seconds == pytest.approx(60, abs=1)


def test_a_run_that_no_leaderboard_has_made_is_not_taken_for_one(tmp_path):
    (job,) = make_jobs(tmp_path, "one")
    job.folder.mkdir()
    (job.folder / "states-6.ckpt").touch()
    with pytest.raises(UserError, match="expected a run of a leaderboard, found another run"):
        running.Work([job], tmp_path).work(1)


def test_devices_go_round_and_threads_are_shared_out(tmp_path, monkeypatch):
    seen = []

    def run_process(command, output, environment, stop, lock):
        seen.append((command[command.index("--device") + 1], environment["OMP_NUM_THREADS"]))
        time.sleep(0.3)
        return 0

    monkeypatch.setattr(running, "run_process", run_process)
    # A job of a cluster is given a few of its machine's processors.
    monkeypatch.setattr(running.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(running.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    running.Work(make_jobs(tmp_path, "one", "two"), tmp_path, ["cuda:0", "cuda:1"]).work(2)
    assert sorted(seen) == [("cuda:0", "4"), ("cuda:1", "4")]


def test_the_package_runs_as_a_module():
    done = run_python("-m", "lid_mapmix", "--help", path=[Path(ROOT, "downstream")])
    assert done.returncode == 0
    assert "  leaderboard " in done.stdout
