"""``lid-mapmix``: the commands around training.

``lid-mapmix run`` is run_downstream.py, ``lid-mapmix prepare CORPUS`` makes manifests, ``lid-mapmix pack`` puts their
audio into tar shards, ``lid-mapmix config`` shows the settings of a run, ``lid-mapmix datamap EXPDIR`` computes and
draws a data map and lists suspicious labels, ``lid-mapmix upstreams`` lists the upstreams.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from . import launch
from .arguments import complete_defaults, make_parser
from .datamap_arguments import make_datamap_parser
from .pack import make_pack_parser, pack_corpus
from .upstreams import list_upstreams, make_upstreams_parser

_CORPORA = ("demo", "asterisk", "folder")
_COMMANDS = {
    "run": "train, evaluate or identify (run_downstream.py)",
    "prepare": "make the manifests of a corpus",
    "pack": "put the audio of prepared manifests into tar shards",
    "config": "print the merged settings of a run, as YAML for -c",
    "datamap": "compute and draw the data map of a run, list suspicious labels",
    "upstreams": "list the upstreams, and what is known of each",
}
_EXAMPLES = """\
examples:
  lid-mapmix prepare demo data/demo
  lid-mapmix run -u fbank --data data/demo
  lid-mapmix run -m inference -t recording.wav -e result/downstream/lid_mapmix-mapmix-fbank
  lid-mapmix config -u fbank -v datamap --data data/demo > datamap.yaml
  lid-mapmix datamap result/downstream/lid_mapmix-mapmix-fbank --suspects 50
  lid-mapmix upstreams xlsr_53
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for a fault, 2 for wrong flags."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = _make_parser().parse_args(arguments[:1]).command
    if command == "run":
        return launch.main(arguments[1:], "lid-mapmix run")
    make_parser_of, work = _OTHERS[command]
    options = make_parser_of().parse_args(arguments[1:])
    return launch.guarded(
        lambda: work(options),
        debug=options.debug,
        after_interruption="the same command starts again",
    )


def _prepare(options: argparse.Namespace) -> None:
    # What a corpus has to say besides its progress bar.
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = import_module(f"..data.prepare.{options.corpus}", __package__).run(options)
    print(f"{folder}: ready; train on it with 'lid-mapmix run -u fbank --data {shlex.quote(str(folder))}'")


def _print_config(options: argparse.Namespace) -> None:
    # Imported here, once the flags are known to be right: torch takes seconds.
    import yaml  # noqa: PLC0415

    from .settings import new_settings  # noqa: PLC0415

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
    print(f"# {' < '.join(settings.sources)}\n# goes with the flags{arguments}")
    print(yaml.safe_dump(settings.config, sort_keys=False, allow_unicode=True), end="")


def _make_map(options: argparse.Namespace) -> None:
    # Imported here, as above.
    from .datamap import make_map  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    make_map(options)


def _make_parser() -> argparse.ArgumentParser:
    """Return the parser of the first word; each command has a parser of its own for the rest."""
    listed = "\n".join(f"  {name:<11}{purpose}" for name, purpose in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        "lid-mapmix",
        description="Dialect and language identification trained with Map-Mix on any upstream of S3PRL's.",
        epilog=f"commands, each with a --help of its own:\n{listed}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(_COMMANDS), metavar="COMMAND", help="what to do")
    return parser


def _make_config_parser() -> argparse.ArgumentParser:
    parser = make_parser("lid-mapmix config")
    parser.description = "Print the merged settings of a run, as YAML for -c, and train nothing."
    return parser


def _make_prepare_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lid-mapmix prepare", description="Make the manifests of a corpus.")
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name in _CORPORA:
        module = import_module(f"..data.prepare.{name}", __package__)
        corpus = corpora.add_parser(
            name,
            help=module.DESCRIPTION,
            description=module.DESCRIPTION,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(corpus)
        corpus.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


# The parser of each command but run, and what it does.
_OTHERS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], None]]] = {
    "prepare": (_make_prepare_parser, _prepare),
    "pack": (make_pack_parser, pack_corpus),
    "config": (_make_config_parser, _print_config),
    "datamap": (make_datamap_parser, _make_map),
    "upstreams": (make_upstreams_parser, list_upstreams),
}
