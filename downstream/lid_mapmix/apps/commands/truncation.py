"""``lid-mapmix truncation RUN``: scores of a split whose utterances are truncated to 1, 2, 3, … seconds.

S3PRL's runner evaluates the windows of all durations in one pass; windows that several durations share are computed
once. Writes, complete or not at all, SPLIT_truncation.png and SPLIT_truncation.json::

    {"split": "test", "seconds": {"1": {"acc": …, …, "count": utterances, "long_enough": those of at least 1 s}, …}}

with the scores of SPLIT_metrics.json. Every utterance is scored at every duration; shorter utterances in full length.
"""

import argparse
import math

from ...utils.command_line import CommandParser
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder
from ..runs.launch import prepare_use
from ..settings.arguments import make_parser

_SHOWN_TOO = ("ece_calibrated", "long_enough", "count")
_EXAMPLES = """\
examples:
  scores of the test split by duration:
    lid-mapmix truncation result/downstream/first
  other durations, on the dev split, with data that have moved:
    lid-mapmix truncation result/downstream/first --split dev --data DATA --seconds 0.5,1,2,4
"""
_SECONDS = "1,2,3,5,10,20,30"
# Audio shorter than 25 ms has no frame.
_MIN_SECONDS = 0.025


def make_truncation_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix truncation``."""
    parser = CommandParser(
        "lid-mapmix truncation",
        description="Score a split with utterances truncated to several durations; shorter ones keep their length.\n"
        "Writes RUN/SPLIT_truncation.json and .png, and nothing else.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    parser.add_run()
    add("--data", metavar="DIR", help="folder with SPLIT.csv; default: that of the run")
    parser.add_split()
    add("--seconds", type=_durations, default=_SECONDS, metavar="LIST", help=f"durations; default: {_SECONDS}")
    parser.add_overwrite("an existing curve")
    parser.add_device()
    parser.add_own_upstream()
    return parser


def _durations(text: str) -> list[float]:
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        seconds = []
    if not seconds or not all(_MIN_SECONDS <= each < math.inf for each in seconds):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected durations of at least {_MIN_SECONDS} seconds, such as {_SECONDS}"
        )
    return sorted(set(seconds))


def score_truncated(options: argparse.Namespace) -> None:
    """Score, print and write. Raises UserError: no such run or split, an existing curve, or no matplotlib."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...evaluation.truncation import TruncationEvaluation  # noqa: PLC0415
    from ...scoring.files.own import write_metrics  # noqa: PLC0415
    from ...scoring.metrics import SUMMARY  # noqa: PLC0415
    from ..report.figures import draw_truncation, new_figure  # noqa: PLC0415
    from ..report.tables import format_table  # noqa: PLC0415
    from ..runs.procedure import run_of_use  # noqa: PLC0415

    folder = RunFolder(options.run)
    if not folder.path.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a trained run.")
    path, figure = folder.truncation(options.split), folder.truncation_figure(options.split)
    if path.exists() and not options.overwrite:
        raise UserError(f"{path}: exists already. Replace it by --overwrite.")
    new_figure(figure, 1, 1)  # a missing matplotlib is an error before anything is computed
    flags = ["-m", "evaluate", "-e", str(options.run), "-t", options.split]
    flags += [] if options.data is None else ["--data", options.data]
    flags += [] if options.device is None else ["--device", options.device]
    flags += [] if options.upstream_from is None else ["--upstream-from", options.upstream_from]
    evaluation = make_parser("lid-mapmix truncation").parse_args(flags)
    prepare_use(evaluation)
    run = run_of_use(evaluation)
    found: list[TruncationEvaluation] = []

    with folder.held("copy the run"):
        run.evaluate(lambda expert: found.append(TruncationEvaluation.of(expert, options.seconds)))
        scores = found[0].scores
        write_metrics(path, {"split": options.split, "seconds": scores})
        draw_truncation(figure, options.split, scores)
    shown = [key for key in (*SUMMARY, *_SHOWN_TOO) if key in next(iter(scores.values()))]
    rows = {f"{name} s": {key: row[key] for key in shown} for name, row in scores.items()}
    print(f"\n{format_table(rows)}\n\n{path}\n{figure}")
