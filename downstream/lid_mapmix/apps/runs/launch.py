"""``python run_downstream.py``: flags in, S3PRL made ready, exit status out; what is run is in procedure.py."""

import argparse
import contextlib
import errno
import gc
import io
import os
import select
import sys
from collections.abc import Callable, Sequence

from ...utils.errors import ReportedError, UserError
from ...utils.garbage import collecting_only_new
from ...utils.place import Place, find_place
from ..settings.arguments import SEED_LIMIT, TASK, make_parser, place_run
from .processes import Processes, choose_device

# As a shell has it of a command that the signal SIGPIPE ends.
_UNREAD = 141


def main(arguments: Sequence[str] | None = None, program: str = "run_downstream.py") -> int:
    """Run the command line and return its exit status: 0, 1 for a fault, 2 for wrong flags."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    processes = Processes(find_place(os.environ))
    with contextlib.ExitStack() as quiet:
        if processes.place.local_rank > 0:
            # The first process of the machine says what is wrong with the flags.
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        options = _parse(arguments, program)
    goes_on = "-a goes on from the last checkpoint" if options.mode == "train" else "the same command starts again"
    try:
        return guarded(
            lambda: _run(options, arguments, processes),
            debug=options.debug,
            after_interruption=goes_on,
            speaks=processes.fails_first,
        )
    finally:
        processes.part()


def _parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    parser = make_parser(program)
    options = parser.parse_args(arguments)
    place_run(options)
    if options.frozen and options.upstream_trainable:
        parser.error("--frozen and -f exclude each other")
    if options.auto_resume and options.overwrite:
        parser.error("-a goes on with a run, --overwrite starts anew: give one of them")
    if not 0 <= options.seed < SEED_LIMIT:
        parser.error(f"--seed {options.seed}: expected a number from 0 to {SEED_LIMIT - 1}")
    if options.upstream is None and options.past_exp is None:
        parser.error("name an upstream by -u, or a trained run by -e")
    if options.mode != "train" and options.past_exp is None and options.init_ckpt is None:
        parser.error(f"-m {options.mode} needs a trained run: name it by -e")
    return options


@collecting_only_new()
def guarded(
    work: Callable[[], None], *, debug: bool, after_interruption: str, speaks: Callable[[], bool] = lambda: True
) -> int:
    """Do `work`, turn what goes wrong into one line on standard error, and return the exit status.

    Parameters
    ----------
    work : what to do.
    debug : let an error pass with its traceback.
    after_interruption : what to tell someone who has pressed Ctrl-C.
    speaks : says, once something has gone wrong, whether it is for this process to print it.
    """
    try:
        work()
        sys.stdout.flush()
    except ReportedError:
        return 1
    except KeyboardInterrupt:
        status, message = 130, f"interrupted; {after_interruption}"
    # Whatever is neither UserError nor OSError is a defect, here or in the host, and still no reason to bury the user
    # under a traceback.
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            return _UNREAD
        if debug:
            speaks()
            raise
        status, message = 1, f"error: {_explain(error)}"
    else:
        return 0
    if not speaks():
        return status
    from tqdm import tqdm  # noqa: PLC0415

    # The error's frames, which only the handler above needs, hold progress bars that would be drawn once more at exit.
    # They may hold a loader as well, which complains of its workers where it was interrupted while they started.
    with contextlib.suppress(RuntimeError):
        gc.collect()
    tqdm.write(message, file=sys.stderr)
    _is_unread()
    return status


def _is_unread() -> bool:
    """Say whether nobody reads standard output any more, as after `| head`; then nothing fails on it at exit either."""
    try:
        sys.stdout.flush()
        # Where nothing is buffered (PYTHONUNBUFFERED), what failed is gone, and flushing is none the wiser.
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
    message = " ".join(str(error).splitlines())
    if isinstance(error, UserError):
        return message
    # Some libraries raise it for what has nothing to do with files.
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'file'}: no space left on the disk or in the quota. Free some and try again."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'file'}: {error.strerror or message}. Check the path, its rights and the disk."
    return f"{type(error).__name__}: {message} (--debug shows where)"


def _run(options: argparse.Namespace, arguments: Sequence[str], processes: Processes) -> None:
    # Imported here and below, once the flags are known to be right: torch takes seconds.
    from ...host import compat, registry  # noqa: PLC0415

    compat.apply()
    registry.install_lazy_hub()
    if options.downstream != TASK:
        _run_other_task(arguments)
        return
    registry.register_task(TASK, __package__.split(".apps")[0])
    if options.mode == "train":
        choose_device(options, processes.place)
    elif processes.place.rank == 0:
        choose_device(options, Place())
    else:
        return  # one process is enough to evaluate
    _refuse_what_cannot_work(options)
    _set_up_host(options)
    from . import procedure  # noqa: PLC0415

    if options.mode == "train":
        processes.meet(options)
        procedure.train(options)
    else:
        procedure.use(options)


def prepare_use(options: argparse.Namespace) -> None:
    """Make S3PRL and the device ready for a command of its own that uses a trained run, in this one process.

    Parameters
    ----------
    options : the flags of run_downstream.py that the command stands for; its device is filled in.

    Raises
    ------
    UserError : no such device.
    """
    from ...host import compat, registry  # noqa: PLC0415

    compat.apply()
    registry.install_lazy_hub()
    registry.register_task(TASK, __package__.split(".apps")[0])
    choose_device(options, Place())
    _set_up_host(options)


def _run_other_task(arguments: Sequence[str]) -> None:
    """Hand a task of S3PRL's own to its own command, on the patched stack."""
    import s3prl.run_downstream  # noqa: PLC0415

    sys.argv[1:] = arguments
    s3prl.run_downstream.main()


def _refuse_what_cannot_work(options: argparse.Namespace) -> None:
    import huggingface_hub  # noqa: PLC0415

    if (options.hub == "huggingface" or options.push_to_hf_hub) and int(huggingface_hub.__version__.split(".")[0]) >= 1:
        raise UserError(
            "--hub huggingface and --push_to_hf_hub need huggingface_hub < 1.0, found "
            f"{huggingface_hub.__version__}. Upstreams hf_wav2vec2_custom and hf_hubert_custom load a downloaded "
            "folder by -k."
        )


def _set_up_host(options: argparse.Namespace) -> None:
    """Do once a process what S3PRL's own command does before its runner."""
    import torch  # noqa: PLC0415

    # Many small tensors travel from the workers; file descriptors would run out.
    torch.multiprocessing.set_sharing_strategy("file_system")
    if options.cache_dir is not None:
        torch.hub.set_dir(options.cache_dir)
    torch.backends.cudnn.enabled = not options.disable_cudnn
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
