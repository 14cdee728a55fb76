"""Our command line against S3PRL's own: every flag of theirs, with the same meaning."""

import argparse
import importlib

import pytest
from helpers.launching import ROOT, run_python
from lid_mapmix.apps.runs import launch
from lid_mapmix.apps.settings.arguments import OWN_FLAGS, complete_defaults, find_conflict, make_parser, place_run
from lid_mapmix.host import compat, registry

# What design.md changes: more is left out, less has to be said.
OTHER_DEFAULTS = {
    "mode": "train",
    "downstream": "lid_mapmix",
    "device": None,  # what the machine has
    "backend": None,  # follows from that: nccl is for GPUs only
    "upstream_trainable": None,  # fine-tuned, but for --frozen and upstreams without weights
    "upstream_feature_selection": None,  # follows from that
}


class _CapturedError(Exception):
    """Carries the parser out of S3PRL's function."""


def options_of(parser):
    """Return option string → action, without the help."""
    return {name: action for action in parser._actions if action.dest != "help" for name in action.option_strings}


@pytest.fixture(scope="module")
def stock():
    compat.apply()
    registry.install_lazy_hub()
    command = importlib.import_module("s3prl.run_downstream")

    def capture(parser, *_):
        raise _CapturedError(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", capture)
        with pytest.raises(_CapturedError) as captured:
            command.get_downstream_args()
    return options_of(captured.value.args[0])


@pytest.fixture(scope="module")
def ours():
    return options_of(make_parser("run_downstream.py"))


def test_every_flag_of_s3prl_is_there_and_nine_more(stock, ours):
    assert len(stock) > 40
    # With a dash, as torch.distributed.launch has come to write it.
    assert ours.keys() - stock.keys() == {f"--{name.replace('_', '-')}" for name in OWN_FLAGS} | {"--local-rank"}
    assert not stock.keys() - ours.keys()


@pytest.mark.parametrize("attribute", ["dest", "type", "choices", "nargs", "const"])
def test_flags_take_what_they_take_in_s3prl(attribute, stock, ours):
    values = {name: (getattr(ours[name], attribute), getattr(action, attribute)) for name, action in stock.items()}
    assert not {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def test_flags_without_a_value_stay_so(stock, ours):
    assert {name: type(action) for name, action in stock.items()} == {name: type(ours[name]) for name in stock}


def test_defaults_are_those_of_s3prl_but_for_the_documented_ones(stock, ours):
    expected = {action.dest: action.default for action in stock.values()} | OTHER_DEFAULTS
    assert {ours[name].dest: ours[name].default for name in stock} == expected


def test_nothing_but_an_upstream_has_to_be_given():
    options = make_parser("run_downstream.py").parse_args(["-u", "xlsr_53"])
    place_run(options)
    complete_defaults(options)
    assert options.downstream_variant == "mapmix"
    assert options.expdir == "result/downstream/lid_mapmix-mapmix-xlsr_53"


@pytest.mark.parametrize(("flags", "folder"), [(["-n", "a"], "result/downstream/a"), (["-n", "a", "-p", "b"], "b")])
def test_folder_of_the_run(flags, folder):
    options = make_parser("run_downstream.py").parse_args(["-u", "fbank", *flags])
    place_run(options)
    complete_defaults(options)
    assert options.expdir == folder


@pytest.mark.parametrize("program", [["run_downstream.py"], ["-m", "lid_mapmix.apps.cli", "run"]])
def test_help_imports_no_torch(program):
    code = "import sys, atexit; atexit.register(lambda: print('torch loaded:', 'torch' in sys.modules))"
    if program[0] == "-m":
        start = f"from lid_mapmix.apps.cli import main; main({program[2:]} + ['--help'])"
        process = run_python("-c", f"{code}; {start}", path=[ROOT / "downstream"])
    else:
        start = f"import runpy; sys.argv[1:] = ['--help']; runpy.run_path({str(ROOT / program[0])!r}, None, '__main__')"
        process = run_python("-c", f"{code}; {start}")
    assert process.returncode == 0, process.stderr
    assert "examples:" in process.stdout
    assert "torch loaded: False" in process.stdout
    assert not process.stderr


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_numpy_would_refuse_is_refused_at_once(seed, capsys):
    with pytest.raises(SystemExit) as ended:
        launch.main(["-u", "fbank", "--data", "nowhere", "--seed", seed])
    assert ended.value.code == 2
    assert f"seed: expected a whole number from 0 to 4294967295, found {seed}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--new-classes", "-u", "fbank"], "--new-classes: expected -m train and -i RUN, without -e"),
        (["--new-classes", "-i", "RUN", "-e", "RUN"], "--new-classes: expected -m train and -i RUN, without -e"),
        (["--new-classes", "-i", "RUN", "-m", "evaluate"], "--new-classes: expected -m train and -i RUN, without -e"),
        (["--known-only", "-e", "RUN"], "--known-only: expected -m evaluate -e RUN"),
        (["--known-only", "-m", "evaluate", "-i", "CKPT", "-u", "fbank"], "--known-only: expected -m evaluate -e RUN"),
        (["--new-classes", "-i", "RUN"], None),
        (["--known-only", "-m", "evaluate", "-e", "RUN"], None),
    ],
)
def test_other_classes_need_a_trained_run(flags, says):
    assert find_conflict(make_parser("run_downstream.py").parse_args(flags)) == says
