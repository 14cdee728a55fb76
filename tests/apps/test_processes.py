"""Where a process stands, and which device it takes."""

from argparse import Namespace

import pytest
import torch
from launching import run
from lid_mapmix.apps.processes import Place, Processes, choose_device, find_place
from lid_mapmix.errors import UserError


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
        ({"device": "cuda:1"}, Place(0, 2, 0, 2), r"--device cuda:1: is one GPU, found 2 processes. Say cuda"),
        ({"device": "cpu", "backend": "nccl"}, Place(0, 2, 0, 2), r"--backend nccl: needs GPUs"),
        ({"device": "cpu", "local_rank": 1}, Place(), r"--local_rank 1: .*torchrun"),
        ({"device": "nonsense"}, Place(), r"--device nonsense: is no device"),
    ],
)
def test_what_cannot_work_is_one_line(gpus, given, place, named):
    with pytest.raises(UserError, match=named) as caught:
        choose_device(options(**given), place)
    assert "\n" not in str(caught.value)


def test_before_they_meet_the_first_of_a_machine_speaks_for_all():
    assert Processes(Place(rank=2, processes=4, local_rank=0, local_processes=2)).fails_first()
    assert not Processes(Place(rank=3, processes=4, local_rank=1, local_processes=2)).fails_first()


def test_wrong_flags_are_said_once(monkeypatch, capsys):
    for local_rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", local_rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert run("--seed", "-1", "-u", "fbank") == 2
        assert ("--seed -1" in capsys.readouterr().err) == said


def test_one_process_is_enough_to_evaluate(monkeypatch, tmp_path, capsys):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert run("-m", "evaluate", "-e", tmp_path / "nothing") == 0
    assert capsys.readouterr() == ("", "")
