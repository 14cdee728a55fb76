"""``run_downstream.py -d NAME`` for S3PRL's other tasks: S3PRL's own command and runner, on the patched stack."""

import argparse
import sys
from pathlib import Path

from ...host import compat, registry
from ...host.runner import prepare
from ...utils.errors import UserError
from ...utils.place import Place
from ..settings.arguments import OWN_FLAGS, TASK, complete_defaults
from .processes import choose_device


def run(options: argparse.Namespace, place: Place) -> None:
    """Pass the flags to S3PRL's command. Raises UserError: unknown names, own flags, no settings, no package."""
    task, is_new = options.downstream, options.past_exp is None
    if is_new:
        registry.check_task(task)
        if options.hub == "torch":
            registry.check_upstream(options.upstream)
        complete_defaults(options)
    for name in OWN_FLAGS:
        if name not in ("debug", "upstream_from") and getattr(options, name):
            raise UserError(
                f"--{name.replace('_', '-')}: expected -d {TASK}, found -d {task}. Omit it: {task} has its data and "
                "settings in its own settings file (-c)."
            )
    resumes = not is_new or (options.auto_resume and any(Path(options.expdir).glob("states-*.ckpt")))
    if options.config is None and not resumes:
        options.config = _find_config(task)
    choose_device(options, place)
    flags = {name: value for name, value in vars(options).items() if name not in OWN_FLAGS}
    prepare()
    with registry.missing_package_named(f"task {task}"):
        compat.import_without_unused(f"s3prl.downstream.{task}")
        from s3prl import run_downstream  # noqa: PLC0415 - after the patches

        sys.argv[1:] = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in flags.items()
            if value is not None and value is not False
        ]
        run_downstream.main()


def _find_config(task: str) -> str:
    """Return the settings file of a task: as S3PRL's command, of the working directory, or of the installed S3PRL."""
    paths = [Path("downstream", task, "config.yaml"), registry.task_file(task, "config.yaml")]
    for path in paths:
        if path.is_file():
            return str(path)
    raise UserError(
        f"task {task}: expected its settings, found none: S3PRL's package has no config.yaml. Copy "
        f"s3prl/downstream/{task}/config.yaml from S3PRL's repository (github.com/s3prl/s3prl) and pass it by -c."
    )
