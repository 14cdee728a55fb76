"""``lid-mapmix upstreams``: list the upstreams and their settings."""

import argparse
import math
import textwrap
from typing import TYPE_CHECKING

from ...config.sources import upstream_config_names, upstream_config_path
from ...host.formats import check_name
from ...host.registry import HUGGING_FACE, check_upstream, upstream_names
from ...utils.command_line import CommandParser
from ...utils.errors import UserError

if TYPE_CHECKING:
    from ...config.upstreams import Protocol, Upstream

_EXAMPLES = """\
examples:
  lid-mapmix upstreams            # upstreams with their own settings
  lid-mapmix upstreams xlsr_53    # all settings of one upstream
  lid-mapmix upstreams --all      # the names of all upstreams of S3PRL; others than the above use the defaults
"""
_WIDTH = 118
# Maximum millions of parameters of a group, and what it needs.
_GROUPS = (
    (0, "Without weights: for a CPU, and small corpora"),
    (100, "Base models: frozen and cached (--frozen --cache-features DIR) for a CPU; fine-tuned for a GPU of 24 GB"),
    (700, "Large models: frozen for a GPU of 24 GB; fine-tuned for one of 24 GB in small batches, better 80 GB"),
    (5_000, "Largest models: frozen for a GPU of 24 GB; fine-tuned with gradient checkpointing, better for 80 GB"),
    (math.inf, "Your own checkpoints (-k)"),
)
_LEGEND = (
    "Take one of many languages for many languages and their dialects; the others learned from English only. CC BY-NC",
    "forbids commercial use. unknown: not verified; see the model's own page.",
    "24/80 GB: anchors of 8 s, each with a partner, that fit into GPU memory in fine-tuning; larger batches are split.",
    "All other upstreams of S3PRL use the defaults (--all lists them).",
)


def make_upstreams_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix upstreams``."""
    parser = CommandParser(
        "lid-mapmix upstreams",
        description="List the upstreams for -u by the hardware that they need, with batch sizes and licences.",
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

    known = {name: read_upstream(name) for name in upstream_config_names()}
    width = max(map(len, known))
    lines = [f"{'-u':<{width}}  millions  24/80 GB  languages  licence          description"]
    for most, title in _GROUPS:
        lines += ["", title]
        group = [name for name in known if _size(known[name]) <= most]
        for name in sorted(group, key=lambda name: -known[name].languages):
            upstream = known.pop(name)
            millions = "any" if upstream.parameters is None else upstream.parameters
            batches = "/".join(str(upstream.finetune.batch_sizes.get(gigabytes, "-")) for gigabytes in (24, 80))
            languages = {0: "", 1: "English"}.get(upstream.languages, f"{upstream.languages:,}")
            indent = f"{name:<{width}}  {millions:>8}  {batches:>8}  {languages:>9}  {upstream.licence:<15}  "
            about = upstream.about.partition(" (arXiv")[0]  # shown for a single upstream only
            lines += textwrap.wrap(about, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
    return "\n".join([*lines, "", *_LEGEND])


def _size(upstream: "Upstream") -> float:
    return math.inf if upstream.parameters is None else upstream.parameters


def _describe(name: str) -> str:
    from ...config.upstreams import read_upstream  # noqa: PLC0415

    known, path = read_upstream(name), upstream_config_path(name)
    lines = [name, *textwrap.wrap(known.about or "no file in upstream_configs/: the defaults are used", _WIDTH)]
    if known.parameters:
        languages = "English" if known.languages == 1 else f"{known.languages:,} languages"
        lines += [f"{known.parameters:,} M parameters, {languages}; licence of the weights: {known.licence}"]
    if repository := HUGGING_FACE.get(name):
        lines += [f"weights: https://huggingface.co/{repository}, or a copy of it by -k FOLDER"]
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
