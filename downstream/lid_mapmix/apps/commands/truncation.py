"""``lid-mapmix truncation EXPDIR``: scores of a split whose utterances are cut to 1, 2, 3, … seconds.

One run of S3PRL's runner goes over the windows of all durations, of which many have the same. It writes, complete or
not at all, SPLIT_truncation.png and SPLIT_truncation.json::

    {"split": "test", "seconds": {"1": {"acc": …, …, "count": utterances, "long_enough": so many last 1 s}, …}}

with the scores of SPLIT_metrics.json. Every utterance is scored at every duration; one that is shorter in its full
length.
"""

import argparse
import math
from pathlib import Path

from ...utils.errors import UserError
from ...utils.run_folder import RunFolder
from ..runs.launch import prepare_use
from ..settings.arguments import make_parser

_COUNTS = ("long_enough", "count")
_EXAMPLES = """\
examples:
  how scores fall with the length of what is heard:
    lid-mapmix truncation result/downstream/first
  other durations, of the dev split, which lies elsewhere now:
    lid-mapmix truncation result/downstream/first --split dev --data DATA --seconds 0.5,1,2,4
"""
_SECONDS = "1,2,3,5,10,20,30"
# Under 25 ms there is no frame.
_LEAST_SECONDS = 0.025


def make_truncation_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix truncation``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix truncation",
        description="Score the utterances of a split cut to several durations, each from its start on; one that is "
        "shorter keeps its length. Writes EXPDIR/SPLIT_truncation.json and .png, and nothing else.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a trained run")
    add("--data", metavar="DIR", help="folder of SPLIT.csv; default: the one of the run")
    add("--split", default="test", metavar="SPLIT", help="default: test")
    add("--seconds", type=_durations, default=_SECONDS, metavar="LIST", help=f"durations; default: {_SECONDS}")
    add("--overwrite", action="store_true", help="replace the curve that is there")
    add("--device", help="cuda, cuda:1, cpu; default: cuda where there is one")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _durations(text: str) -> list[float]:
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        seconds = []
    if not seconds or not all(_LEAST_SECONDS <= each < math.inf for each in seconds):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected durations from {_LEAST_SECONDS} seconds up, such as {_SECONDS}"
        )
    return sorted(set(seconds))


def score_truncated(options: argparse.Namespace) -> None:
    """Score, print and write.

    Raises
    ------
    UserError : no such run or split, a curve that is there already, or no matplotlib.
    """
    # Imported here, once the flags are known to be right: torch takes seconds.
    from ...evaluation.truncation import TruncationEvaluation  # noqa: PLC0415
    from ...scoring.files.own import write_metrics  # noqa: PLC0415
    from ...scoring.metrics import SUMMARY  # noqa: PLC0415
    from ..report.figures import draw_truncation, new_figure  # noqa: PLC0415
    from ..report.tables import format_table  # noqa: PLC0415
    from ..runs.procedure import run_of_use  # noqa: PLC0415

    folder = RunFolder(Path(options.expdir))
    if not folder.path.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a trained run.")
    path, picture = folder.truncation(options.split), folder.truncation_figure(options.split)
    if path.exists() and not options.overwrite:
        raise UserError(f"{path}: is there already. Replace it by --overwrite.")
    new_figure(picture, 1, 1)  # found out before anything is computed
    flags = ["-m", "evaluate", "-e", options.expdir, "-t", options.split]
    flags += [] if options.data is None else ["--data", options.data]
    flags += [] if options.device is None else ["--device", options.device]
    stands_for = make_parser("lid-mapmix truncation").parse_args(flags)
    prepare_use(stands_for)
    run = run_of_use(stands_for)
    found: list[TruncationEvaluation] = []

    def change(expert: object) -> None:
        found.append(TruncationEvaluation.of(expert, options.seconds))

    with folder.held("copy the run"):
        run.evaluate(change)
        scores = found[0].scores
        write_metrics(path, {"split": options.split, "seconds": scores})
        draw_truncation(picture, options.split, scores)
    rows = {f"{name} s": {key: row[key] for key in (*SUMMARY, *_COUNTS)} for name, row in scores.items()}
    print(f"\n{format_table(rows)}\n\n{path}\n{picture}")
