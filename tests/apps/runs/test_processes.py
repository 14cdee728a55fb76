"""Where a process stands, and which device it takes."""

import os
from argparse import Namespace

import pytest
import torch
from helpers.launching import run
from lid_mapmix.apps.runs import processes
from lid_mapmix.apps.runs.processes import Processes, choose_device
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.place import Place, find_place


def options(**given):
    return Namespace(**{"device": None, "backend": None, "local_rank": None, **given})


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_alone_where_nobody_says_otherwise():
    assert find_place({}) == find_place({"WORLD_SIZE": "4"}) == Place()
    one = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert find_place(one) == Place()


def test_on_a_second_machine_rank_and_local_rank_differ(gpus):
    place = find_place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    assert place == Place(rank=3, processes=4, local_rank=1, local_processes=2)
    chosen = options()
    choose_device(chosen, place)
    assert chosen == options(device="cuda:1", backend="nccl", local_rank=1)


def test_processes_on_a_cpu_take_gloo(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    chosen = options()
    choose_device(chosen, Place(rank=1, processes=2, local_rank=1, local_processes=2))
    assert chosen == options(device="cpu", backend="gloo", local_rank=1)


def test_the_flag_of_the_older_launcher_names_the_gpu(gpus):
    chosen = options(device="cuda", local_rank=1)
    choose_device(chosen, Place(rank=1, processes=2, local_rank=0, local_processes=2))
    assert chosen.device == "cuda:1"


def test_alone_the_device_stays_as_it_is_given(gpus):
    chosen = options(device="cuda:1")
    choose_device(chosen, Place())
    assert chosen == options(device="cuda:1")


@pytest.mark.parametrize(
    ("given", "place", "named"),
    [
        ({}, Place(0, 3, 0, 3), r"found 2 for 3 processes.*--nproc-per-node 2"),
        (
            {"device": "cuda:1"},
            Place(0, 2, 0, 2),
            r"--device cuda:1: expected cuda for 2 processes, found one GPU. Use cuda",
        ),
        ({"device": "cpu", "backend": "nccl"}, Place(0, 2, 0, 2), r"--backend nccl: expected GPUs"),
        ({"device": "cpu", "local_rank": 1}, Place(), r"--local_rank 1: .*torchrun"),
        ({"device": "nonsense"}, Place(), r"--device nonsense: expected cuda"),
    ],
)
def test_what_cannot_work_is_one_line(gpus, given, place, named):
    with pytest.raises(UserError, match=named) as caught:
        choose_device(options(**given), place)
    assert "\n" not in str(caught.value)


def test_before_they_meet_the_first_of_a_machine_speaks_for_all():
    assert Processes(Place(rank=2, processes=4, local_rank=0, local_processes=2)).fails_first()
    assert not Processes(Place(rank=3, processes=4, local_rank=1, local_processes=2)).fails_first()


class Store:
    """What the processes keep in touch by, in one process."""

    def __init__(self, *, is_gone=False):
        self.counts = {}
        self.is_gone = is_gone

    def check(self, keys):
        if self.is_gone:
            raise RuntimeError("Connection reset by peer")
        return all(key in self.counts for key in keys)

    def add(self, key, number):
        self.counts[key] = self.counts.get(key, 0) + number
        return self.counts[key]


def watch(monkeypatch, store, *, rank=0, parent=None):
    """Let a process watch the others until it is ended."""

    def end(status):
        raise SystemExit(status)

    monkeypatch.setattr(processes, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(processes, "_END_TIMEOUT", 0.01)
    monkeypatch.setattr(processes.os, "_exit", end)
    one = Processes(Place(rank=rank, processes=2, local_rank=rank, local_processes=2))
    one._store, one._parent = store, parent
    with pytest.raises(SystemExit) as exit_:
        one._end_with_others()
    assert exit_.value.code == 1


def test_processes_whose_torchrun_was_killed_do_not_train_on(monkeypatch, capsys):
    # kill -9 of torchrun takes the store with it, and collectives among the others still work.
    store = Store(is_gone=True)
    for rank in (0, 1):
        watch(monkeypatch, store, rank=rank)
    assert capsys.readouterr().err.count("error: the process that coordinates the others has ended; -a resumes") == 1


def test_processes_of_a_machine_whose_torchrun_was_killed_end_all_others(monkeypatch, capsys):
    # The store is kept by the torchrun of another machine.
    store = Store()
    for rank in (0, 1):
        watch(monkeypatch, store, rank=rank, parent=-1)
    assert capsys.readouterr().err.count("error: torchrun, which started this process, has ended; -a resumes") == 1
    assert store.counts["failed"] == 1


def test_only_torchrun_is_a_parent_to_be_missed(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert Processes(Place())._parent is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert Processes(Place())._parent == os.getppid()


def test_wrong_flags_are_said_once(monkeypatch, capsys):
    for local_rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", local_rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert run("--seed", "-1", "-u", "fbank") == 2
        assert ("seed: expected a whole number" in capsys.readouterr().err) == said


def test_one_process_is_enough_to_evaluate(monkeypatch, tmp_path, capsys):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert run("-m", "evaluate", "-e", tmp_path / "nothing") == 0
    assert capsys.readouterr() == ("", "")
