"""``lid-mapmix upstreams``: which upstreams there are, and what is known of each."""

import argparse
import textwrap
from typing import TYPE_CHECKING

from ...config.sources import upstream_config_names, upstream_config_path
from ...host.registry import check_upstream, upstream_names
from ...utils.errors import UserError

if TYPE_CHECKING:
    from ...config.upstreams import Protocol

_EXAMPLES = """\
examples:
  lid-mapmix upstreams            # those with settings of their own
  lid-mapmix upstreams xlsr_53    # all that is known of one
  lid-mapmix upstreams --all      # the names of all of S3PRL's; those without settings take the defaults
"""
_WIDTH = 118


def make_upstreams_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix upstreams``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix upstreams",
        description="List the upstreams that -u takes, and what is known of each.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="say all that is known of this one")
    parser.add_argument("--all", action="store_true", help="list the names of all of S3PRL's")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def list_upstreams(options: argparse.Namespace) -> None:
    """Print what is asked for.

    Raises
    ------
    UserError : S3PRL has no upstream of that name, or a name and --all are both given.
    """
    if options.name is not None and options.all:
        raise UserError("--all lists every name, NAME describes one upstream: give one of them.")
    if options.name is not None:
        check_upstream(options.name)
        print(_describe(options.name))
    elif options.all:
        print("\n".join(sorted(upstream_names())))
    else:
        print(_table())


def _table() -> str:
    # Imported where it is used: pydantic is slow to import.
    from ...config.upstreams import read_upstream  # noqa: PLC0415

    names = upstream_config_names()
    width = max(map(len, names))
    lines = [
        f"{'-u':<{width}}  learning rate  anchors a step   what it is",
        " " * width + "  fine/frozen    24 GB/80 GB",
    ]
    for name in names:
        known = read_upstream(name)
        rates = f"{_rate(known.finetune)}/{_rate(known.frozen)}"
        batches = "/".join(str(size) for size in known.finetune.batch_sizes.values())
        indent = f"{name:<{width}}  {rates:<13}  {batches:<14}   "
        about = known.about.partition(" (arXiv")[0]  # the paper's number is for whoever asks for one of them
        lines += textwrap.wrap(about, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
    lines += ["", "Anchors of 8 s, each with its partner, that a GPU of that memory holds in a step of fine-tuning;"]
    lines += ["a larger batch is divided. Any other upstream of S3PRL's works with the defaults (--all lists them)."]
    return "\n".join(lines)


def _describe(name: str) -> str:
    from ...config.upstreams import read_upstream  # noqa: PLC0415

    known, path = read_upstream(name), upstream_config_path(name)
    lines = [name, *textwrap.wrap(known.about or "has no file in upstream_configs/, and takes the defaults", _WIDTH)]
    for protocol in ("finetune", "frozen"):
        use: Protocol = getattr(known, protocol)
        flag = " (--frozen)" if protocol == "frozen" else ""
        lines += ["", f"{protocol}{flag}:", f"  flags          {' '.join(_flags(use))}"]
        lines += [f"  learning rate  {_rate(use)}"]
        lines += [f"  {gigabytes} GB holds     {size} anchors of 8 s" for gigabytes, size in use.batch_sizes.items()]
        evaluation = use.config.get("downstream_expert", {}).get("evaluation", {})
        mixes = "of different lengths" if evaluation.get("mix_lengths") else "of one length"
        lines += [f"  evaluation     batches of windows {mixes}"]
    lines += ["", *textwrap.wrap(f"source: {known.source}", _WIDTH)]
    if path is not None:
        lines.append(f"file: {path}")
    return "\n".join(lines)


def _flags(use: "Protocol") -> list[str]:
    arguments = use.arguments
    layer = arguments.upstream_layer_selection
    return [
        *(["-f"] if arguments.upstream_trainable else []),
        f"-s {arguments.upstream_feature_selection}",
        *([] if layer is None else [f"-l {layer}"]),
    ]


def _rate(use: "Protocol") -> str:
    rate = use.config.get("optimizer", {}).get("lr")
    return "default" if rate is None else f"{rate:.0e}".replace("e-0", "e-")
