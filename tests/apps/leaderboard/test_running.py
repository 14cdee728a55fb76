"""Who works on what: two processes on one grid, a leaderboard that is killed, and one that is interrupted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock
from launching import ROOT, listing, run_python
from lid_mapmix.apps.leaderboard import running
from lid_mapmix.apps.leaderboard.jobs import Job
from lid_mapmix.apps.leaderboard.state import Status, read_state

from .conftest import leaderboard, runs_in_process, write_grid

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'downstream'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
# It works on a grid of eight jobs, of which each takes a moment and says in a common file that it was made.
WORKER = """
import json, sys, time
from pathlib import Path
from lid_mapmix.apps.leaderboard import running
from lid_mapmix.apps.leaderboard.jobs import Job

root, ready, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def run_process(command, output, environment, stop):
    with (root / "made").open("a") as file:
        file.write(f"{name} {output.parent.name}\\n")
    time.sleep(0.2)
    return 0

running.run_process = run_process
(ready / name).touch()
while len(list(ready.iterdir())) < 2:
    time.sleep(0.01)
jobs = [Job(f"job {n}", root / f"job-{n}", ("-u", "x", "-v", "y"), {}, {"n": n}, 1) for n in range(8)]
work = running.Work(jobs, root)
work.work(2)
print(json.dumps(sorted(path.name for path, state in work.outcomes.items() if state.status == "complete")))
"""


def make_jobs(root, *names, datamap=None):
    return [Job(name, root / name, ("-u", "x", "-v", "y"), {}, {"name": name}, 1, datamap=datamap) for name in names]


def wait_for(is_true, seconds=120):
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_two_processes_do_each_run_once(tmp_path):
    root, ready = tmp_path / "grid", tmp_path / "ready"
    root.mkdir(), ready.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), str(ready), name],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    made = [line.split() for line in (root / "made").read_text().splitlines()]
    assert sorted(folder for _, folder in made) == [f"job-{number}" for number in range(8)]
    assert {name for name, _ in made} == {"one", "other"}
    # Both know in the end that all is complete, whoever made it.
    assert [json.loads(line) for line in printed] == [[f"job-{number}" for number in range(8)]] * 2


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
    arguments = ([sys.executable, "-c", code], tmp_path / "output", dict(os.environ), stop)
    thread = threading.Thread(target=lambda: statuses.append(running.run_process(*arguments)))
    thread.start()
    wait_for(lambda: (tmp_path / "output").is_file() and "begun" in (tmp_path / "output").read_text())
    stop.set()
    thread.join(20)
    assert statuses == [0]
    assert (tmp_path / "output").read_text() == "begun\nended\n"


def test_an_interruption_ends_the_runs_and_leaves_them_to_go_on(tmp_path):
    code = """
import sys, time
from pathlib import Path
from lid_mapmix.apps.leaderboard import running
from lid_mapmix.apps.leaderboard.jobs import Job
from lid_mapmix.apps.launch import guarded

def run_process(command, output, environment, stop):
    print("begun", flush=True)
    stop.wait(60)
    return 130

running.run_process = run_process
root = Path(sys.argv[1])
jobs = [Job(str(n), root / str(n), ("-u", "x", "-v", "y"), {}, {"n": n}, 1) for n in range(3)]
work = lambda: running.Work(jobs, root).work(1)
sys.exit(guarded(work, debug=False, after_interruption="go on"))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (printed, error) == ("", "interrupted; go on\n")
    assert [read_state(tmp_path / str(number)).status for number in range(3)] == [
        *(Status.RUNNING, Status.ABSENT, Status.ABSENT)
    ]


def test_runs_wait_for_their_map_and_fail_with_it(tmp_path, monkeypatch):
    order = []

    def run_process(command, output, environment, stop):
        order.append(output.parent.name)
        output.write_text("error: no good map\n")
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


def test_devices_go_round_and_threads_are_shared_out(tmp_path, monkeypatch):
    seen = []

    def run_process(command, output, environment, stop):
        seen.append((command[command.index("--device") + 1], environment["OMP_NUM_THREADS"]))
        time.sleep(0.3)
        return 0

    monkeypatch.setattr(running, "run_process", run_process)
    monkeypatch.setattr(running.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    running.Work(make_jobs(tmp_path, "one", "two"), tmp_path, ["cuda:0", "cuda:1"]).work(2)
    assert sorted(seen) == [("cuda:0", "4"), ("cuda:1", "4")]


def test_the_package_runs_as_a_module():
    done = run_python("-m", "lid_mapmix", "--help", path=[Path(ROOT, "downstream")])
    assert done.returncode == 0
    assert "  leaderboard " in done.stdout
