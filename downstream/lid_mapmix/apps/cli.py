"""``lid-mapmix``: the commands around training.

``lid-mapmix run`` is run_downstream.py; ``lid-mapmix prepare CORPUS`` makes manifests.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from . import launch

_CORPORA = ("demo", "asterisk", "folder")
_EXAMPLES = """\
examples:
  lid-mapmix prepare demo data/demo
  lid-mapmix run -u fbank --data data/demo
  lid-mapmix run -m inference -t recording.wav -e result/downstream/lid_mapmix-mapmix-fbank
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for a fault, 2 for wrong flags."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["run"]:
        return launch.main(arguments[1:], "lid-mapmix run")
    options = _make_parser().parse_args(arguments)
    return launch.guarded(
        lambda: _prepare(options), debug=options.debug, after_interruption="the same command starts again"
    )


def _prepare(options: argparse.Namespace) -> None:
    # What a corpus has to say besides its progress bar.
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = import_module(f"..data.prepare.{options.corpus}", __package__).run(options)
    print(f"{folder}: ready; train on it with 'python run_downstream.py -d lid_mapmix -u fbank --data {folder}'")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "lid-mapmix",
        description="Dialect and language identification trained with Map-Mix on any upstream of S3PRL's.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Listed for the help; main() hands all of its flags to the launcher.
    commands.add_parser("run", help="train, evaluate or identify (run_downstream.py)", add_help=False)
    prepare = commands.add_parser("prepare", help="make the manifests of a corpus")
    corpora = prepare.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
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
