"""``lid-mapmix``: all commands, one entry each in `COMMANDS`, which ``lid-mapmix --help`` lists."""

import argparse
import logging
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .. import __version__
from ..data.prepare import CORPORA, find_corpus
from ..utils.command_line import CommandParser
from ..utils.garbage import collect_none_at_exit
from ..utils.one_line import escape_unencodable_output, log_to_terminal
from ..utils.threads import set_threads
from .runs import launch
from .settings.arguments import complete_defaults, make_parser


@dataclass(frozen=True)
class Command:
    """A command: its purpose, its parser and its work."""

    purpose: str  # one line for the help
    # parser, work: "module:function" of this folder. `work` is imported after parsing: torch takes seconds.
    parser: str
    work: str
    after_interruption: str = "run the same command to start again"  # message after Ctrl-C


COMMANDS: Mapping[str, Command] = {
    "run": Command("train or evaluate, with the flags of S3PRL's run_downstream.py", "", ""),
    "prepare": Command("write the manifests of a corpus", "cli:make_prepare_parser", "cli:prepare"),
    "pack": Command(
        "pack the audio of a prepared corpus into tar shards",
        "commands.pack:make_pack_parser",
        "commands.pack:pack_corpus",
    ),
    "export-manifest": Command(
        "write manifests of Lhotse (for Kaldi, NeMo and others), or as Parquet",
        "commands.export_manifest:make_export_parser",
        "commands.export_manifest:export_manifest",
    ),
    "check": Command("check a corpus before training", "commands.check:make_check_parser", "commands.check:check_data"),
    "config": Command(
        "print the merged settings of a run as YAML, for -c", "cli:make_config_parser", "cli:show_config"
    ),
    "datamap": Command(
        "compute and draw the data map of a run, and list suspicious labels",
        "commands.datamap:make_datamap_parser",
        "commands.datamap:make_map",
    ),
    "score": Command(
        "score, compare, calibrate and convert score files of any system",
        "commands.score:make_score_parser",
        "commands.score:score",
    ),
    "truncation": Command(
        "score a split truncated to 1, 2, 3, … seconds",
        "commands.truncation:make_truncation_parser",
        "commands.truncation:score_truncated",
    ),
    "predict": Command(
        "identify the dialect or language of recordings",
        "commands.predict:make_predict_parser",
        "commands.predict:predict",
    ),
    "export": Command(
        "export a trained run for inference: safetensors weights, no pickles, a model card",
        "commands.export_run:make_export_run_parser",
        "commands.export_run:export_run",
    ),
    "app": Command("serve a page to try a model in a browser", "commands.app:make_app_parser", "commands.app:serve"),
    "report": Command(
        "write an HTML report of a run: scores, figures, the worst utterances with audio",
        "report.command:make_report_parser",
        "report.command:make_report",
    ),
    "leaderboard": Command(
        "train a grid of upstreams, variants, data and seeds, and write its tables",
        "leaderboard.command:make_leaderboard_parser",
        "leaderboard.procedure:make_leaderboard",
        "run the same command to resume",
    ),
    "upstreams": Command(
        "list the upstreams and their settings",
        "commands.upstreams:make_upstreams_parser",
        "commands.upstreams:list_upstreams",
    ),
}
_EXAMPLES = """\
examples:
  lid-mapmix prepare demo --out data/demo
  lid-mapmix export-manifest data/demo --to lhotse --out manifests
  lid-mapmix run -u fbank --data data/demo
  lid-mapmix config -u fbank -v datamap --data data/demo > datamap.yaml
  lid-mapmix datamap result/downstream/lid_mapmix-mapmix-fbank --suspects 50
  lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --by duration,cluster
  lid-mapmix truncation result/downstream/lid_mapmix-mapmix-fbank
  lid-mapmix report result/downstream/lid_mapmix-mapmix-fbank
  lid-mapmix leaderboard bench/demo.yaml --jobs 2
  lid-mapmix check data/demo --deep
  lid-mapmix predict result/downstream/lid_mapmix-mapmix-fbank recording.wav folder/
  lid-mapmix export result/downstream/lid_mapmix-mapmix-fbank --out dialects
  lid-mapmix app dialects
  lid-mapmix pack data/demo --out data/demo-packed
  lid-mapmix upstreams xlsr_53
"""
_PREPARE_EXAMPLES = """\
examples (lid-mapmix prepare CORPUS --help has more):
  lid-mapmix prepare folder recordings/ --out data/
  lid-mapmix prepare commonvoice cv-corpus/ --out data/ --languages pt es ca gl --max-hours-per-class 10
  lid-mapmix prepare lre17 LDC2022E16/ --out data/set1/ --eval LDC2022E17/ --subset 5 --set 1
"""
_CONFIG_EXAMPLES = """\
examples:
  the settings of a run, to edit and to train with:
    lid-mapmix config -u fbank -v mapmix --data data/demo > mine.yaml
    lid-mapmix run -u fbank -v mapmix --data data/demo -c mine.yaml
  the settings of a frozen upstream, with an override:
    lid-mapmix config -u hubert --frozen -o config.optimizer.lr=5e-4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 after an error, 2 for wrong flags."""
    escape_unencodable_output()
    set_threads()
    collect_none_at_exit()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = _make_parser().parse_args(arguments[:1]).command
    if command == "run":
        return launch.main(arguments[1:], "lid-mapmix run")
    # Preparing a corpus logs what was skipped.
    log_to_terminal(logging.INFO if command == "prepare" else logging.WARNING)

    def parse_and_work() -> None:
        options = _find(COMMANDS[command].parser)().parse_args(arguments[1:])
        _find(COMMANDS[command].work)(options)

    return launch.guarded(
        parse_and_work, debug="--debug" in arguments, after_interruption=COMMANDS[command].after_interruption
    )


def _find(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(import_module(f".{module}", __package__), function)


def _make_parser() -> argparse.ArgumentParser:
    """Return the parser of the first argument; each command parses the others."""
    listed = "\n".join(f"  {name:<17}{command.purpose}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "lid-mapmix",
        description="Dialect and language identification with Map-Mix, on any upstream of S3PRL.",
        epilog=f"commands ('lid-mapmix COMMAND --help' describes one):\n{listed}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions of lid_mapmix, torch and s3prl")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of the commands below")
    return parser


class _Version(argparse.Action):
    """Print the versions of what decides about results, without importing any of it: torch takes seconds."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - takes as long as all else here

        print(f"lid_mapmix {__version__}")
        for name in ("torch", "s3prl"):
            try:
                print(f"{name} {version(name)}")
            except PackageNotFoundError:
                print(f"{name}: not installed")
        parser.exit()


def make_prepare_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix prepare``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix prepare",
        description="Write the manifests of a corpus: train.csv, dev.csv, test.csv and labels.yaml.",
        epilog=_PREPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS", parser_class=CommandParser)
    for name in CORPORA:
        corpus = find_corpus(name)
        one = corpora.add_parser(
            name,
            help=corpus.purpose,
            description=corpus.purpose,
            epilog=f"examples:\n{textwrap.indent(corpus.examples, '  ')}",
        )
        one.add_out("folder to write", required=True, dest="folder", was_positional=True)
        corpus.add_flags(one)
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Prepare a corpus."""
    folder = find_corpus(options.corpus).prepare(options)
    print(f"{folder}: ready. Train on it by 'lid-mapmix run -u fbank --data {shlex.quote(str(folder))}'.")


def make_config_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix config``."""
    parser = make_parser("lid-mapmix config")
    parser.description = "Print the merged settings of a run as YAML, for -c. Trains nothing."
    parser.epilog = _CONFIG_EXAMPLES
    return parser


def show_config(options: argparse.Namespace) -> None:
    """Print the settings of a run."""
    # Imported here, after the flags were parsed: torch takes seconds.
    import yaml  # noqa: PLC0415

    from .settings.from_flags import new_settings  # noqa: PLC0415

    complete_defaults(options)
    settings = new_settings(options)
    arguments = "".join(
        f" {flag}"
        for flag in (
            f"-u {settings.args.upstream}",
            "-f" if settings.args.upstream_trainable else "",
            f"-s {settings.args.upstream_feature_selection}",
        )
        if flag
    )
    print(f"# {' < '.join(settings.sources)}\n# use with the flags{arguments}")
    print(yaml.safe_dump(settings.for_s3prl("train")[1], sort_keys=False, allow_unicode=True), end="")
