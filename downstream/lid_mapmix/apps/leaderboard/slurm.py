"""Hands a grid to a cluster: jobs that do the same work, which share the grid out among them by its locks."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...utils.errors import UserError
from .state import LOGS


def submit(root: Path, work: Callable[[], None], jobs: int, parameters: Mapping[str, Any]) -> None:
    """Submit jobs and wait for them.

    Parameters
    ----------
    root : folder of the grid; the jobs' logs are kept in its folder `LOGS`.
    work : what each job does.
    jobs : how many.
    parameters : submitit's; ``cluster`` among them is its executor (slurm, local, debug).

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
    given = dict(parameters)
    try:
        executor = submitit.AutoExecutor(folder=root / LOGS, cluster=given.pop("cluster", None))
        executor.update_parameters(name="lid-mapmix-leaderboard", **given)
    except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"--slurm: {' '.join(str(error).split())}. See submitit's AutoExecutor.") from None
    with executor.batch():
        submitted = [executor.submit(work) for _ in range(jobs)]
    print(f"submitted {', '.join(job.job_id for job in submitted)}; logs in {root / LOGS}")
    try:
        for job in tqdm(submitted, unit="job", desc="slurm", file=sys.stderr):
            # What failed of the grid is reported with the results.
            job.wait()
    except KeyboardInterrupt:
        for job in submitted:
            job.cancel(check=False)  # others may have ended by themselves
        raise
