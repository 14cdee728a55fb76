"""``python run_downstream.py``: parse flags, prepare S3PRL, return the exit status; procedure.py does the work."""

import argparse
import contextlib
import errno
import gc
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence

from ...utils.errors import ReportedError, UserError
from ...utils.one_line import escape_unencodable_output, log_to_terminal, one_line
from ...utils.place import Place, find_place
from ...utils.versions import unmet_requirements
from ..settings.arguments import TASK, find_conflict, make_parser, place_run
from .processes import Processes, choose_device

# The exit status of a command that SIGPIPE ends, in a shell.
_UNREAD = 141


def main(arguments: Sequence[str] | None = None, program: str = "run_downstream.py") -> int:
    """Run the command line and return its exit status: 0, 1 after an error, 2 for wrong flags."""
    escape_unencodable_output()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    processes = Processes(find_place(os.environ))
    with contextlib.ExitStack() as quiet:
        if processes.place.local_rank > 0:
            # Only the first process of the machine prints errors in the flags.
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        parser = make_parser(program)
        options = parser.parse_args(arguments)
        place_run(options)
        if conflict := find_conflict(options):
            parser.error(conflict)
    hint = "-a resumes from the last checkpoint" if options.mode == "train" else "run the same command to start again"
    try:
        return guarded(
            lambda: _run(options, processes),
            debug=options.debug,
            after_interruption=hint,
            reports=processes.fails_first,
        )
    finally:
        processes.part()


def guarded(
    work: Callable[[], None], *, debug: bool, after_interruption: str, reports: Callable[[], bool] = lambda: True
) -> int:
    """Call `work`, print an error as one line on standard error, and return the exit status.

    `debug`: raise errors with their traceback. `after_interruption`: message after Ctrl-C. `reports`: called after an
    error; returns whether this process prints it.
    """
    log_to_terminal(logging.WARNING)
    try:
        work()
        sys.stdout.flush()
    except ReportedError:
        return 1
    except KeyboardInterrupt:
        status, message = 130, f"interrupted; {after_interruption}"
    # Any error other than UserError and OSError is a defect, here or in S3PRL; it is also printed as one line.
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            return _UNREAD
        if debug:
            reports()
            raise
        status, message = 1, f"error: {_explain(error)}"
    else:
        return 0
    if not reports():
        return status
    from tqdm import tqdm  # noqa: PLC0415

    # The frames of the error hold progress bars, which would be drawn again at exit, and maybe a loader, which raises
    # an error about its workers if it was interrupted while they started.
    with contextlib.suppress(RuntimeError):
        gc.collect()
    tqdm.write(message, file=sys.stderr)
    _is_unread()
    return status


def _is_unread() -> bool:
    """Return whether the reader of standard output has closed it, as `| head` does; if so, prevent errors at exit."""
    try:
        sys.stdout.flush()
        # Without buffering (PYTHONUNBUFFERED) flushing does not detect it.
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        return bool(output.poll(0))
    except io.UnsupportedOperation:
        return False  # as in a notebook
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return isinstance(error, BrokenPipeError)


def _explain(error: Exception) -> str:
    message = one_line(" ".join(str(error).splitlines()))
    if isinstance(error, UserError):
        return message
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[max(error.start - 40, 0) : error.end + 40])
        remedy = "Rename the file; convmv converts file names to UTF-8."
        if sys.getfilesystemencoding() != "utf-8":
            remedy = "The locale is at fault: set PYTHONUTF8=1, or LC_ALL=C.UTF-8."
        return f"{text}: expected text in {error.encoding.upper()}, found other characters. {remedy}"
    # Some libraries raise OSError for other reasons than files.
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'file'}: no space left on the disk or in the quota. Free some and try again."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'file'}: {error.strerror or message}. Check the path, its permissions and the disk."
    if isinstance(error, ImportError) and (unmet := unmet_requirements()):
        needed = " ".join(f"'{requirement}'" for requirement in unmet)
        return f"expected {', '.join(unmet)}, found {', '.join(unmet.values())} ({message}). Run pip install {needed}."
    return f"{type(error).__name__}: {message} (--debug shows the traceback)"


def _run(options: argparse.Namespace, processes: Processes) -> None:
    _patch_s3prl(options)
    if options.downstream != TASK:
        from . import other_task  # noqa: PLC0415 - after the flags were parsed: torch takes seconds

        other_task.run(options, processes.place)
        return
    if options.mode == "train":
        choose_device(options, processes.place)
    elif processes.place.rank == 0:
        choose_device(options, Place())
    else:
        return  # evaluation uses one process
    if options.hub == "huggingface" or options.push_to_hf_hub:
        raise UserError(
            "--hub huggingface and --push_to_hf_hub: S3PRL needs huggingface_hub < 1.0 for them. Download the model "
            "and load its folder by -u hf_auto -k FOLDER."
        )
    _set_up_host(options)
    from . import procedure  # noqa: PLC0415

    if options.mode == "train":
        processes.meet(options)
        procedure.train(options)
    else:
        procedure.use(options)


def prepare_use(options: argparse.Namespace) -> None:
    """Prepare S3PRL and the device for a command that uses a trained run. Raises UserError: no such device."""
    _patch_s3prl(options)
    choose_device(options, Place())
    _set_up_host(options)


def _patch_s3prl(options: argparse.Namespace) -> None:
    """Patch S3PRL, and register the task and the user's upstreams."""
    # Imported here and below, after the flags were parsed: torch takes seconds.
    from ...host import registry, runner  # noqa: PLC0415

    runner.prepare()
    registry.register_task(TASK, __package__.split(".apps")[0])
    registry.add_upstreams(options.upstream_from)


def _set_up_host(options: argparse.Namespace) -> None:
    """Configure torch once per process, as S3PRL's own command does."""
    import torch  # noqa: PLC0415

    # Workers send many small tensors, which would exhaust file descriptors.
    torch.multiprocessing.set_sharing_strategy("file_system")
    if options.cache_dir is not None:
        torch.hub.set_dir(options.cache_dir)
    torch.backends.cudnn.enabled = not options.disable_cudnn
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
