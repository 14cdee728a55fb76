"""``lid-mapmix upstreams``: list the upstreams and their settings."""

import argparse
import textwrap
from typing import TYPE_CHECKING

from ...config.sources import upstream_config_names, upstream_config_path
from ...host.formats import check_name
from ...host.registry import check_upstream, upstream_names
from ...utils.command_line import CommandParser
from ...utils.errors import UserError

if TYPE_CHECKING:
    from ...config.upstreams import Protocol

_EXAMPLES = """\
examples:
  lid-mapmix upstreams            # upstreams with their own settings
  lid-mapmix upstreams xlsr_53    # all settings of one upstream
  lid-mapmix upstreams --all      # the names of all upstreams of S3PRL; others than the above use the defaults
"""
_WIDTH = 118


def make_upstreams_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix upstreams``."""
    parser = CommandParser(
        "lid-mapmix upstreams",
        description="List the upstreams for -u, with learning rates and batch sizes.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show all settings of this upstream")
    parser.add_argument("--all", action="store_true", help="list the names of all upstreams of S3PRL")
    return parser


def list_upstreams(options: argparse.Namespace) -> None:
    """Print the table, one upstream, or all names. Raises UserError: no such upstream, or NAME with --all."""
    if options.name is not None and options.all:
        raise UserError("NAME and --all exclude each other. Give one of them.")
    if options.name is not None:
        check_name(options.name)
        check_upstream(options.name)
        print(_describe(options.name))
    elif options.all:
        print("\n".join(sorted(upstream_names())))
    else:
        print(_table())


def _table() -> str:
    # Imported here: pydantic is slow to import.
    from ...config.upstreams import read_upstream  # noqa: PLC0415

    names = upstream_config_names()
    width = max(map(len, names))
    lines = [
        f"{'-u':<{width}}  learning rate  anchors / batch  description",
        " " * width + "  fine/frozen    24 GB/80 GB",
    ]
    for name in names:
        known = read_upstream(name)
        rates = f"{_rate(known.finetune)}/{_rate(known.frozen)}"
        batches = "/".join(str(known.finetune.batch_sizes.get(gigabytes, "-")) for gigabytes in (24, 80))
        indent = f"{name:<{width}}  {rates:<13}  {batches:<14}   "
        about = known.about.partition(" (arXiv")[0]  # shown for a single upstream only
        lines += textwrap.wrap(about, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
    lines += ["", "anchors / batch: anchors of 8 s, each with a partner, that fit into GPU memory when fine-tuning;"]
    lines += ["larger batches are split. All other upstreams of S3PRL use the defaults (--all lists them)."]
    return "\n".join(lines)


def _describe(name: str) -> str:
    from ...config.upstreams import read_upstream  # noqa: PLC0415

    known, path = read_upstream(name), upstream_config_path(name)
    lines = [name, *textwrap.wrap(known.about or "no file in upstream_configs/: the defaults are used", _WIDTH)]
    for protocol in ("finetune", "frozen"):
        use: Protocol = getattr(known, protocol)
        flag = " (--frozen)" if protocol == "frozen" else ""
        lines += ["", f"{protocol}{flag}:", f"  flags          {' '.join(_flags(use))}"]
        lines += [f"  learning rate  {_rate(use)}"]
        lines += [f"  batch, {gigabytes} GB   {size} anchors of 8 s" for gigabytes, size in use.batch_sizes.items()]
        evaluation = use.config.get("downstream_expert", {}).get("evaluation", {})
        lengths = "different lengths" if evaluation.get("mix_lengths") else "one length"
        lines += [f"  evaluation     batches of windows of {lengths}"]
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
