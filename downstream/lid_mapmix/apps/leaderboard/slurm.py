"""Hands a grid to a cluster: jobs of the same command, which share the grid out among them by its locks."""

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...errors import UserError
from .state import LOGS


def submit(root: Path, options: argparse.Namespace) -> None:
    """Submit --jobs jobs of the command as it was typed but for --slurm, and wait for them.

    Parameters
    ----------
    root : folder of the grid; the jobs' logs are kept in its folder `LOGS`.
    options : the flags. Those of --slurm go to submitit; ``cluster`` among them is its executor (slurm, local, debug).

    Raises
    ------
    UserError : submitit is not installed, or knows a parameter not.
    """
    try:
        import submitit  # noqa: PLC0415
    except ImportError:
        raise UserError(
            "--slurm needs submitit, which is not installed. Install it by 'pip install submitit'."
        ) from None
    parameters: dict[str, Any] = dict(options.slurm)
    try:
        executor = submitit.AutoExecutor(folder=root / LOGS, cluster=parameters.pop("cluster", None))
        executor.update_parameters(name="lid-mapmix-leaderboard", **parameters)
    except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"--slurm: {' '.join(str(error).split())}. See submitit's AutoExecutor.") from None
    with executor.batch():
        jobs = [executor.submit(_work, options) for _ in range(options.jobs)]
    print(f"submitted {', '.join(job.job_id for job in jobs)}; logs in {root / LOGS}")
    try:
        for job in tqdm(jobs, unit="job", desc="slurm", file=sys.stderr):
            # What failed of the grid is reported with the results.
            job.wait()
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel(check=False)  # others may have ended by themselves
        raise


def _work(options: argparse.Namespace) -> None:
    from .command import train_grid  # noqa: PLC0415 - it imports this module

    train_grid(argparse.Namespace(**{**vars(options), "slurm": None, "jobs": 1}))
