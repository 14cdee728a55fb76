"""``lid-mapmix truncation EXPDIR``: scores of a split whose utterances are cut to 1, 2, 3, … seconds.

One run of S3PRL's runner goes over the windows of all durations, of which many have the same. It writes, complete or
not at all, SPLIT_truncation.png and SPLIT_truncation.json::

    {"split": "test", "seconds": {"1": {"acc": …, …, "count": utterances, "long_enough": so many last 1 s}, …}}

with the scores of SPLIT_metrics.json. Every utterance is scored at every duration; one that is shorter in its full
length.
"""

import argparse
from pathlib import Path

from ..errors import UserError
from ..scoring.files import write_metrics
from ..scoring.metrics import SUMMARY
from ..scoring.tables import format_table
from ..truncation import TruncationEvaluation
from .arguments import make_parser
from .launch import prepare_use
from .one_run import run
from .pictures import new_figure
from .run_folder import only_one
from .stages import settings_of_use
from .truncation_picture import draw_truncation

_COUNTS = ("long_enough", "count")


def score_truncated(options: argparse.Namespace) -> None:
    """Score, print and write.

    Parameters
    ----------
    options : of :func:`.truncation_arguments.make_truncation_parser`.

    Raises
    ------
    UserError : no such run or split, a curve that is there already, or no matplotlib.
    """
    folder = Path(options.expdir)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a trained run.")
    path = folder / f"{options.split}_truncation.json"
    picture = path.with_suffix(".png")
    if path.exists() and not options.overwrite:
        raise UserError(f"{path}: is there already. Replace it by --overwrite.")
    new_figure(picture.name, 1, 1)  # found out before anything is computed
    flags = ["-m", "evaluate", "-e", options.expdir, "-t", options.split]
    flags += [] if options.data is None else ["--data", options.data]
    flags += [] if options.device is None else ["--device", options.device]
    stands_for = make_parser("lid-mapmix truncation").parse_args(flags)
    prepare_use(stands_for)
    settings = settings_of_use(stands_for)
    found: list[TruncationEvaluation] = []

    def change(expert: object) -> None:
        found.append(TruncationEvaluation.of(expert, options.seconds))

    with only_one(folder, "copy the run"):
        run(settings, "evaluate", change=change)
        scores = found[0].scores
        write_metrics(path, {"split": options.split, "seconds": scores})
        draw_truncation(picture, options.split, scores)
    rows = {f"{name} s": {key: row[key] for key in (*SUMMARY, *_COUNTS)} for name, row in scores.items()}
    print(f"\n{format_table(rows)}\n\n{path}\n{picture}")
