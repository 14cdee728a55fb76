"""A package that is too old is named as the reason of an error, by every command."""

import sys
from importlib import metadata

import pytest
from lid_mapmix.apps import cli
from lid_mapmix.utils.versions import unmet_requirements


@pytest.fixture
def old_numpy(monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.26.4" if name == "numpy" else version(name))
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=2", "torch>=2.6", "silero-vad<7,>=6.2.3", "s3prl"])


def test_installed_packages_meet_the_requirements():
    assert not unmet_requirements()


def test_an_old_and_a_missing_package_are_found(old_numpy, monkeypatch):
    requires = metadata.requires("lid-mapmix")
    monkeypatch.setattr(metadata, "requires", lambda name: [*requires, "nothing-of-that-name>=1.5"])
    assert unmet_requirements() == {
        "numpy>=2": "numpy 1.26.4",
        "nothing-of-that-name>=1.5": "no nothing-of-that-name",
    }


@pytest.mark.parametrize("command", ["check", "datamap", "predict", "score"])
def test_commands_name_the_package_that_is_too_old(command, old_numpy, monkeypatch, capsys):
    module = cli.COMMANDS[command].parser.partition(":")[0]
    monkeypatch.setitem(sys.modules, f"lid_mapmix.apps.{module}", None)  # cannot be imported
    assert cli.main([command, "x"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: expected numpy>=2, found numpy 1.26.4 (")
    assert error.endswith(". Run pip install 'numpy>=2'.\n")


def test_other_failed_imports_keep_their_own_reason(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lid_mapmix.apps.commands.score", None)
    assert cli.main(["score", "scores.csv"]) == 1
    assert capsys.readouterr().err.startswith("error: ModuleNotFoundError: import of lid_mapmix.apps.commands.score")
