"""The parser of every command: shared flags, and deprecated spellings that name their replacement."""

from pathlib import Path

import pytest
from lid_mapmix.utils.command_line import STANDARD_OUTPUT, CommandParser


@pytest.fixture
def parser():
    """Return a parser with a flag that was a positional, and one that had another name."""
    parser = CommandParser("tool", description="Does it.", epilog="examples:\n  tool RUN --out DIR\n")
    parser.add_run()
    parser.add_out("folder to write", required=True, was_positional=True)
    parser.add_json("write it")
    parser.add_seed("seed")
    parser.add_deprecated("--into", "--out")
    return parser


def test_a_flag(parser, capsys):
    options = parser.parse_args(["run", "--out", "new", "--debug"])
    assert (options.run, options.out, options.debug, options.seed) == (Path("run"), Path("new"), True, 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "old"), [(["new"], "the positional DIR"), (["--seed", "1", "new"], "the positional DIR")]
)
def test_a_positional_that_became_a_flag(parser, capsys, words, old):
    assert parser.parse_args(["run", *words]).out == Path("new")
    assert capsys.readouterr().err == f"tool: {old} is deprecated; use --out DIR\n"


def test_a_flag_that_was_renamed(parser, capsys):
    assert parser.parse_args(["run", "--into", "new"]).out == Path("new")
    assert capsys.readouterr().err == "tool: --into is deprecated; use --out\n"


@pytest.mark.parametrize("words", [["run"], ["run", "one", "two"], ["run", "--nothing"], ["run", "--seed", "-1"]])
def test_what_is_wrong(parser, capsys, words):
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(words)
    assert exit_.value.code == 2
    assert "tool: error: " in capsys.readouterr().err


def test_the_file_of_json_is_optional(parser):
    given = [["--json"], ["--json", "a.json"], []]
    found = [parser.parse_args(["run", "--out", "new", *words]).json for words in given]
    assert found == [STANDARD_OUTPUT, "a.json", None]


def test_the_help_hides_deprecated_spellings_and_keeps_lines(parser):
    text = parser.format_help()
    assert "--into" not in text
    assert " --out DIR" in text.partition("\n\n")[0]
    assert text.endswith("examples:\n  tool RUN --out DIR\n")


def test_the_help_shows_what_is_required(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "[--out DIR]" not in capsys.readouterr().out
