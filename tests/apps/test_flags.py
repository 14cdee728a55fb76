"""One idea, one flag: shared flags, examples in every help, and deprecated spellings that name their replacement."""

from argparse import SUPPRESS
from importlib import import_module

import pytest
from lid_mapmix.apps import cli
from lid_mapmix.apps.settings import arguments

# S3PRL names the flags of run (and of config, which takes the same ones).
OTHERS = tuple(name for name in cli.COMMANDS if name not in ("run", "config", "prepare"))
SHARED = {
    "--out": {"pack", "export-manifest", "check", "datamap", "score", "predict", "export", "report", "leaderboard"},
    "--json": {"check", "score", "predict"},
    "--split": {"truncation", "report"},
    "--seed": {"score"},
    "--overwrite": {
        *("pack", "export-manifest", "check", "datamap", "score", "truncation", "predict", "export", "leaderboard"),
    },
    "--debug": set(OTHERS),
}
DEPRECATED = (
    ("predict", ["-e", "RUN", "a.wav", "b.wav"], ["RUN", "a.wav", "b.wav"], "RUN AUDIO…"),
    ("predict", ["a.wav", "-e", "RUN"], ["RUN", "a.wav"], "RUN AUDIO…"),
    ("predict", ["--from", "RUN", "--json", "a.wav"], ["RUN", "a.wav", "--format", "json"], "RUN AUDIO…"),
    ("export", ["RUN", "DIR"], ["RUN", "--out", "DIR"], "--out DIR"),
    ("export", ["RUN", "--overwrite", "DIR"], ["RUN", "--out", "DIR", "--overwrite"], "--out DIR"),
    ("pack", ["DATA", "DIR", "--overwrite"], ["DATA", "--out", "DIR", "--overwrite"], "--out DIR"),
    ("prepare", ["demo", "DIR"], ["demo", "--out", "DIR"], "--out DIR"),
    (
        "prepare",
        ["folder", "AUDIO", "DIR", "--seed", "1"],
        ["folder", "AUDIO", "--out", "DIR", "--seed", "1"],
        "--out DIR",
    ),
    ("datamap", ["RUN", "--into", "DIR"], ["RUN", "--out", "DIR"], "--out"),
    ("score", ["FILE", "--convert", "nist", "--to", "x"], ["FILE", "--convert", "nist", "--out", "x"], "--out"),
    ("check", ["DATA", "--fix", "DIR"], ["DATA", "--fix", "--out", "DIR"], "--fix --out DIR"),
    ("check", ["--fix", "DIR", "DATA"], ["DATA", "--fix", "--out", "DIR"], "--fix --out DIR"),
    ("leaderboard", ["x.yaml", "--into", "DIR"], ["x.yaml", "--out", "DIR"], "--out"),
)


def parser_of(name):
    """Return the parser of a command."""
    if name == "run":
        return arguments.make_parser("lid-mapmix run")
    module, _, function = cli.COMMANDS[name].parser.partition(":")
    return getattr(import_module(f"lid_mapmix.apps.{module}"), function)()


def parse(name, words):
    """Return the options that a command parses, by name."""
    return vars(parser_of(name).parse_args(words))


@pytest.mark.parametrize(("name", "old", "new", "replacement"), DEPRECATED)
def test_a_deprecated_spelling_is_the_new_one_and_names_it(name, old, new, replacement, capsys):
    expected = parse(name, new)
    assert capsys.readouterr().err == ""
    assert parse(name, old) == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lid-mapmix {name}")
    assert line.endswith(f"is deprecated; use {replacement}")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_help_has_examples_and_hides_deprecated_spellings(name):
    parser = parser_of(name)
    text = parser.format_help()
    assert "examples" in text
    assert f"lid-mapmix {name}" in text
    hidden = [flag for action in parser._actions if action.help == SUPPRESS for flag in action.option_strings]
    assert not [flag for flag in hidden if flag in text.split()]


@pytest.mark.parametrize(("flag", "commands"), SHARED.items())
def test_one_idea_has_one_flag(flag, commands):
    found = {name for name in OTHERS if flag in parser_of(name)._option_string_actions}
    assert found == commands


@pytest.mark.parametrize("name", ["export", "report", "datamap", "truncation", "predict"])
def test_a_run_is_the_first_positional(name):
    positionals = [action for action in parser_of(name)._actions if not action.option_strings]
    assert (positionals[0].dest, positionals[0].metavar) == ("run", "RUN")


def test_json_and_out_of_predict():
    options = parse("predict", ["RUN", "a.wav", "--json"])
    assert (options["format"], options["out"]) == ("json", None)
    options = parse("predict", ["RUN", "a.wav", "--json", "a.jsonl"])
    assert (options["format"], str(options["out"])) == ("json", "a.jsonl")
    for words in (["--json", "a.jsonl", "--out", "b"], ["--json", "--format", "text"]):
        with pytest.raises(SystemExit):
            parse("predict", ["RUN", "a.wav", *words])


@pytest.mark.parametrize("words", [["DATA", "--fix"], ["DATA", "--out", "DIR"]])
def test_check_writes_with_both_flags_only(words, capsys):
    with pytest.raises(SystemExit):
        parse("check", words)
    assert "--fix and --out: expected both or neither" in capsys.readouterr().err
