"""The task in a checkout of S3PRL's, run by that checkout's own command, with host/compat.py and nothing else of ours.

The checkout is links to the installed package, with a link to the task's folder in it. What a stock run needs besides
S3PRL's usual flags: -c (the launcher's layers are not there), and a data map trained first.
"""

import importlib.util
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from helpers.checkpoints import save_hugging_face
from helpers.launching import QUICK, ROOT, assert_same_files, last_checkpoint, run_python, train, weights
from lid_mapmix.config.sources import DEFAULT_CONFIG, TASK_KEY, merge, read_yaml, upstream_config_path

TASK = ROOT / "downstream" / "lid_mapmix"
# The launcher computes filter banks otherwise than S3PRL, to rounding (tests/host/test_filter_banks.py).
UPSTREAM = "mfcc"
HIDE_THE_INSTALLED_PACKAGE = """
import sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "lid_mapmix":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return the folder that holds the package s3prl with the task in it."""
    folder = tmp_path_factory.mktemp("checkout")
    installed = Path(importlib.util.find_spec("s3prl").submodule_search_locations[0])
    (folder / "s3prl" / "downstream").mkdir(parents=True)
    # Links, so that what is compiled already need not be compiled again.
    for path in (*installed.iterdir(), *(installed / "downstream").iterdir()):
        if path.name not in {"__pycache__", "downstream"}:
            (folder / "s3prl" / path.relative_to(installed)).symlink_to(path)
    (folder / "s3prl" / "downstream" / "lid_mapmix").symlink_to(TASK)
    # Where the package is installed, as after `make setup`, it has to be hidden; Python runs this file at its start.
    (folder / "sitecustomize.py").write_text(HIDE_THE_INSTALLED_PACKAGE)
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Return the folder of a complete Map-Mix run of the launcher's."""
    folder = tmp_path_factory.mktemp("runs") / "mapmix"
    assert train(corpus, folder, "-u", UPSTREAM) == 0
    return folder


@pytest.fixture(scope="module")
def stock(checkout, corpus, tmp_path_factory):
    """Return a function that runs the checkout's command, from its s3prl folder as its README says."""
    config = merge(read_yaml(DEFAULT_CONFIG), read_yaml(upstream_config_path(UPSTREAM))["finetune"]["config"])
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    quick = ",,".join(f"config.{key}={value!r}" for key, value in QUICK.items())
    data = f"config.downstream_expert.data.directory={str(corpus)!r}"

    def run(*flags, override="", new=True):
        start = ["-d", "lid_mapmix", "-u", UPSTREAM, "-c", path, "--device", "cpu"] if new else ["--device", "cpu"]
        text = f"{quick},,{data}{override}" if new else "None"
        process = run_python(
            *("downstream/lid_mapmix/host/compat.py", "run_downstream.py", *start, *flags, "-o", text),
            path=[checkout],
            cwd=checkout / "s3prl",
        )
        assert process.returncode == 0, process.stderr[-3000:]

    return run


def test_nothing_else_of_ours_can_be_imported(checkout):
    code = """
    import runpy, sys
    try:
        import lid_mapmix
    except ModuleNotFoundError:
        pass
    else:
        sys.exit("lid_mapmix can be imported")
    runpy.run_path(sys.argv[1])["apply"]()
    from s3prl.downstream.lid_mapmix.expert import DownstreamExpert
    assert DownstreamExpert.__module__ == "s3prl.downstream.lid_mapmix.expert"
    assert not [name for name in sys.modules if name.partition(".")[0] == "lid_mapmix"]
    """
    process = run_python("-c", textwrap.dedent(code), TASK / "host" / "compat.py", path=[checkout])
    assert process.returncode == 0, process.stderr


def test_trains_and_evaluates_map_mix_as_the_launcher_does(stock, trained, tmp_path):
    override = f",,config.downstream_expert.mapmix.datamap={str(trained / 'datamap' / 'datamap.csv')!r}"
    stock("-m", "train", "-v", "mapmix", "-p", tmp_path, override=override)
    stocks, ours = weights(last_checkpoint(tmp_path)), weights(last_checkpoint(trained))
    assert all(torch.equal(stocks[name], ours[name]) for name in ours)
    stock("-m", "evaluate", "-t", "dev", "-e", tmp_path / "dev-best.ckpt", new=False)
    assert_same_files(tmp_path, trained, "dev_scores.csv", "calibration.json")
    stock("-m", "evaluate", "-e", tmp_path / "dev-best.ckpt", new=False)
    assert_same_files(tmp_path, trained, "test_scores.csv", "test_metrics.json")


def test_trains_and_resumes_a_data_map_as_the_launcher_does(stock, trained, tmp_path):
    # A run of five of the eight steps stands for one that was interrupted after them.
    steps = ",,config.runner.save_step=5,,config.runner.total_steps=5"
    stock("-m", "train", "-v", "datamap", "-p", tmp_path, override=steps)
    path = tmp_path / "states-5.ckpt"
    states = torch.load(path, weights_only=True)
    assert states["Epoch"] == 1
    states["Config"]["runner"] |= {"total_steps": 8, "save_step": 8}
    torch.save(states, path)
    stock("-m", "train", "-d", "lid_mapmix", "-p", tmp_path, "-a", new=False)
    whole = trained / "datamap"
    resumed, expected = weights(tmp_path / "states-8.ckpt"), weights(whole / "states-8.ckpt")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert_same_files(tmp_path, whole, "datamap.csv", "class_similarity.csv", "dev_scores.csv")


def test_a_hugging_face_model_is_not_fine_tuned_by_the_stock_command(checkout, corpus, tmp_path):
    folder = save_hugging_face(tmp_path / "model", "wav2vec2")
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(merge(read_yaml(DEFAULT_CONFIG), {TASK_KEY: {"data": {"directory": str(corpus)}}}))
    )
    process = run_python(
        *("downstream/lid_mapmix/host/compat.py", "run_downstream.py", "-m", "train", "-d", "lid_mapmix"),
        *("-u", "hf_wav2vec2_custom", "-k", folder, "-f", "-c", config, "-p", tmp_path / "run", "--device", "cpu"),
        path=[checkout],
        cwd=checkout / "s3prl",
    )
    assert process.returncode == 1
    assert "S3PRL's own command cannot fine-tune it" in process.stderr
