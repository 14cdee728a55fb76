"""``lid-mapmix app RUN``: a local page to try a model with recordings and a microphone."""

import argparse
import socket

from ...host.registry import add_upstreams
from ...utils.command_line import CommandParser, whole_number_from
from ...utils.errors import UserError

_LOOPBACK = "127.0.0.1"
_EXAMPLES = """\
examples:
  open the address that it prints; recordings stay on this machine:
    lid-mapmix app result/downstream/first
  an export, for other machines of the network as well:
    lid-mapmix app dialects --host 0.0.0.0 --port 8000

It needs Gradio: pip install 'lid-mapmix[app]'. 'lid-mapmix export RUN --out DIR --space' writes the same page as a
Hugging Face Space.
"""


def make_app_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix app``."""
    parser = CommandParser(
        "lid-mapmix app",
        description="Serve a page with upload and microphone: probabilities by cluster, and segments over time.",
        epilog=_EXAMPLES,
    )
    parser.add_run("folder of a trained run, or of an export")
    parser.add_upstream_weights()
    parser.add_device()
    parser.add_argument(
        "--host", default=_LOOPBACK, help=f"address to listen on; default: {_LOOPBACK}, for this machine only"
    )
    parser.add_argument("--port", type=whole_number_from(1), metavar="N", help="default: the first free one from 7860")
    parser.add_argument(
        "--reject", type=float, metavar="P", help="as for predict; default: 0.05 if there are dev scores"
    )
    return parser


def serve(options: argparse.Namespace) -> None:
    """Serve until interrupted. Raises UserError: Gradio is missing, the port is taken, or as for ``predict``."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...inference.identifier import Identifier  # noqa: PLC0415

    try:
        from ..space import LAUNCH, make_page  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("app: expected Gradio, found none. Install it: pip install 'lid-mapmix[app]'.") from None
    add_upstreams(options.upstream_from)
    identifier = Identifier.from_pretrained(options.run, options.device, upstream_weights=options.weights)
    page = make_page(identifier, options.run.resolve().name, reject=options.reject)
    try:
        # Gradio does not say why it cannot listen, and tries 100 ports for 5 s each.
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        socket.create_server((options.host.strip("[]"), options.port or 0), family=family).close()
        _, address, _ = page.launch(
            **LAUNCH, server_name=options.host, server_port=options.port, prevent_thread_lock=True, quiet=True
        )
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {options.host} --port {options.port or 'any'}: cannot listen there ({error})."
        ) from None
    print(f"{address}  serves {options.run}; stop it by Ctrl-C", flush=True)
    page.block_thread()
