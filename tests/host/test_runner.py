import copy
import importlib.util
import random
import subprocess
import sys
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.forking import run_code, run_forked
from host.conftest import toy_run
from lid_mapmix.host import compat, registry
from lid_mapmix.host.runner import is_patched, make_runner
from lid_mapmix.host.runner_globals import Checkpoints
from lid_mapmix.utils.errors import UserError


@pytest.fixture(scope="module")
def stock_runner():
    """Return a copy of S3PRL's runner module of which this package knows nothing."""
    compat.apply()
    registry.install_lazy_hub()
    registry.register_task("toy", "host.toy_task")
    path = importlib.util.find_spec("s3prl.downstream.runner").origin
    spec = importlib.util.spec_from_file_location("stock_runner", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make(stock_runner):
    """Return a function that builds the stock or the patched runner, seeded."""

    def build(kind, args, config):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        return make_runner(args, config) if kind == "patched" else stock_runner.Runner(args, config)

    return build


def states(folder):
    return sorted(path.name for path in Path(folder).glob("states-*.ckpt"))


def everything(folder):
    return sorted(path.name for path in Path(folder).iterdir() if "tfevents" not in path.name)


@pytest.mark.parametrize("kind", ["stock", "patched"])
def test_trains_keeps_the_last_checkpoint_and_resumes(kind, make, tmp_path):
    args, config = toy_run(tmp_path, eval_step=1)
    make(kind, args, config).train()
    assert everything(tmp_path) == ["dev-best.ckpt", "states-3.ckpt"]
    assert list(tmp_path.glob("*tfevents*"))
    args.init_ckpt = str(tmp_path / "states-3.ckpt")
    config["runner"]["total_steps"] = 5
    make(kind, args, config).train()
    assert everything(tmp_path) == ["dev-best.ckpt", "states-5.ckpt"]
    assert torch.load(tmp_path / "states-5.ckpt")["Step"] == 5


def test_patched_training_gives_the_weights_of_the_stock_runner(make, tmp_path):
    for kind in ("stock", "patched"):
        args, config = toy_run(tmp_path / kind)
        args.upstream = "mfcc"  # filter banks are computed otherwise here, to rounding (test_filter_banks.py)
        make(kind, args, config).train()
    stock, patched = (torch.load(tmp_path / kind / "states-3.ckpt")["Downstream"] for kind in ("stock", "patched"))
    assert all(torch.equal(stock[name], patched[name]) for name in stock)


def test_random_numbers_after_an_evaluation(make, tmp_path):
    draws = {}
    for kind, eval_step in (("stock", 1), ("stock", 99), ("patched", 1), ("patched", 99)):
        runner = make(kind, *toy_run(tmp_path / f"{kind}{eval_step}", eval_step=eval_step, total_steps=4))
        runner.train()
        draws[kind, eval_step] = runner.downstream.model.draws
    assert draws["stock", 1][1] == draws["stock", 1][3], "the fault: the same numbers after each evaluation"
    assert draws["patched", 1] == draws["patched", 99] == draws["stock", 99]


@pytest.mark.parametrize("max_keep", [1, 2])
@pytest.mark.parametrize("kind", ["stock", "patched"])
def test_failed_write_leaves_the_checkpoints_that_were_there(kind, max_keep, make, monkeypatch, tmp_path):
    args, config = toy_run(tmp_path, max_keep=max_keep)
    make(kind, args, config).train()
    before = states(tmp_path)
    assert len(before) == max_keep
    args.init_ckpt = str(tmp_path / "states-3.ckpt")
    config["runner"]["total_steps"] = 4
    runner = make(kind, args, config)

    def save(states, path):
        Path(path).write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="disk full"):
        runner.train()
    if kind == "stock":
        assert states(tmp_path) == [*before[1:], "states-4.ckpt"], "the fault: one was deleted, the new one is broken"
    else:
        assert everything(tmp_path) == before
        assert torch.load(tmp_path / "states-3.ckpt")["Step"] == 3


KILLED = """
import os, sys, torch
from pathlib import Path
from host.conftest import toy_run
from lid_mapmix.host import compat, registry
from lid_mapmix.host.runner import is_patched, make_runner

compat.apply(); registry.install_lazy_hub(); registry.register_task("toy", "host.toy_task")
import s3prl.downstream.runner as stock
kind, expdir = sys.argv[1:]
args, config = toy_run(expdir)
runner = make_runner(args, config) if kind == "patched" else stock.Runner(args, config)
write = torch.save
def save(states, path):
    if states["Step"] == 3:
        write(states, path)
        os.truncate(path, 100)
        os._exit(9)
    write(states, path)
torch.save = save
runner.train()
"""


def test_kill_while_a_checkpoint_is_written(make, tmp_path):
    for kind in ("stock", "patched"):
        process = run_forked(run_code, KILLED, [kind, str(tmp_path / kind)])
        assert process.returncode == 9, process.stderr
    assert states(tmp_path / "stock") == ["states-3.ckpt"]
    with pytest.raises(Exception, match=r"zip|central directory|magic|Ran out|pickle"):
        torch.load(tmp_path / "stock" / "states-3.ckpt")

    assert states(tmp_path / "patched") == ["states-2.ckpt"]
    leftovers = [name for name in everything(tmp_path / "patched") if name.endswith(".part")]
    assert len(leftovers) == 1
    args, config = toy_run(tmp_path / "patched")
    args.init_ckpt = str(tmp_path / "patched" / "states-2.ckpt")
    make("patched", args, config).train()
    assert everything(tmp_path / "patched") == ["states-3.ckpt"], "a resumed run removes what the killed one left"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_with_the_path_and_what_to_do(monkeypatch, tmp_path):
    save, path = torch.save, tmp_path / "states-1.ckpt"
    monkeypatch.setattr(torch, "save", lambda states, _: save(states, "/dev/full"))
    with pytest.raises(
        UserError, match=r"no space left on the disk or in the quota \(.* MB free\)\. Free some space and resume by -a"
    ) as caught:
        Checkpoints().save({"weights": torch.zeros(100_000)}, str(path))
    assert str(caught.value).startswith(f"{path}: no space left on the disk")
    assert not list(tmp_path.iterdir())


def test_another_fault_of_saving_is_not_taken_for_a_full_disk(monkeypatch, tmp_path):
    def save(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="something else"):
        Checkpoints().save({}, str(tmp_path / "states-1.ckpt"))


def test_missing_gradient_accumulate_steps(make, tmp_path):
    args, config = toy_run(tmp_path)
    del config["runner"]["gradient_accumulate_steps"]
    given = copy.deepcopy(config)
    with pytest.raises(TypeError):
        make("stock", args, config).train()
    make("patched", args, config).train()
    assert states(tmp_path) == ["states-3.ckpt"]
    assert config == given


def test_evaluation_on_the_cpu_of_a_machine_with_a_gpu(make, monkeypatch, tmp_path):
    # Real where there is a GPU; elsewhere torch is made to say that there is one.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    args, config = toy_run(tmp_path)
    with pytest.raises(ValueError, match="cuda device"):
        make("stock", args, config).evaluate()
    runner = make("patched", args, config)
    before = torch.get_rng_state()
    assert runner.evaluate() == []
    assert torch.equal(torch.get_rng_state(), before)


def test_no_deprecation_warning_in_each_step(make, tmp_path):
    noise = {}
    for kind in ("stock", "patched"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make(kind, *toy_run(tmp_path / kind)).train()
        noise[kind] = [str(each.message) for each in caught if issubclass(each.category, FutureWarning)]
    assert noise["stock"]
    assert noise["patched"] == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_process_that_is_not_rank_zero_trains_to_the_end_without_a_trace(
    is_first, make, monkeypatch, tmp_path, capfd
):
    # Fact 15 of s3prl_host.md: it never counted its steps, and so never ended.
    args, config = toy_run(tmp_path, eval_step=1)
    runner = make("patched", args, config)
    monkeypatch.setattr("lid_mapmix.utils.distributed.rank", lambda: int(not is_first))
    (tmp_path / ".states-1.ckpt.abc.part").touch()
    capfd.readouterr()
    runner.train()
    assert len(runner.downstream.model.draws) == 3
    assert (len(everything(tmp_path)) == 2) == is_first
    assert bool("".join(capfd.readouterr())) == is_first
    if not is_first:
        assert everything(tmp_path) == [".states-1.ckpt.abc.part"]
        assert not list(tmp_path.glob("*tfevents*"))


def test_evaluation_leaves_wrapped_models_as_they_were(make, tmp_path):
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        runner = make("patched", *toy_run(tmp_path))
        wrapped = runner.downstream.model
        assert isinstance(wrapped, torch.nn.parallel.DistributedDataParallel)
        assert wrapped.device_ids is None
        wrapped.forward = None  # it would wait for processes that do not evaluate
        logger = Namespace(add_scalar=lambda *_: None)
        assert runner.evaluate("dev", logger, 1) == ["dev-best.ckpt"]
        assert runner.downstream.model is wrapped
    finally:
        torch.distributed.destroy_process_group()


def test_inference_reads_through_the_expert(make, tmp_path):
    args, config = toy_run(tmp_path)
    args.evaluate_split = str(tmp_path / "a.wav")
    Path(args.evaluate_split).touch()
    make("patched", args, config).inference()
    assert (tmp_path / "inference.txt").read_text() == "a 1"


def test_a_second_runner_and_torch_itself_are_left_alone(make, tmp_path):
    save = torch.save
    for _ in range(2):
        make("patched", *toy_run(tmp_path))
    import s3prl.downstream.runner as module

    assert torch.save is save
    assert module.torch._original is torch
    assert is_patched()


def test_importing_the_module_does_not_import_s3prl():
    code = "import sys; from lid_mapmix.host.runner import is_patched; sys.exit(is_patched() or 's3prl' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": sys.path[0]}, check=False)
    assert process.returncode == 0
