"""``lid-mapmix score FILE…``: scores of any system's output, comparison of systems, calibration, conversion.

This module has the flags; score_files.py reads and converts files, score_results.py computes, prints and writes scores.
"""

import argparse
from pathlib import Path

from ...scoring.choices import CALIBRATION_SUFFIX, FileFormat, Kind, Values
from ...utils.command_line import CommandParser, choices_of, whole_number_from
from ..report.table_files import table_file

_FIGURES = (".png", ".pdf", ".svg")
_DESCRIPTION = """\
Score the output of any system, compare systems, calibrate scores, and convert score files.

FILE is one of: SPLIT_scores.csv of a run; a NIST LRE table (segmentid and one column of log-likelihood ratios per
language); lines 'utterance language score' of Kaldi or OLR; lid.trn of ML-SUPERB. The format is detected. NIST and
Kaldi files contain no truth and need --key. Files with hard labels only have accuracy, F1 and cluster accuracy."""
_EXAMPLES = """\
examples:
  scores with 95 % confidence intervals, and by duration and cluster:
    lid-mapmix score result/downstream/first/test_scores.csv --by duration,cluster
  compare a second system to the first, by a paired bootstrap:
    lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --json compared.json
  write the same as tables for a paper, in LaTeX (booktabs):
    lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --table compared.tex
  a submission to NIST LRE17, with the key of the evaluation:
    lid-mapmix score scores.tsv --key lre17_eval_segment_keys.tsv --by duration,source
  calibrate on dev, score test, and write the calibrated scores as log-likelihood ratios:
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --reliability curve.png
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --convert nist --out scores.tsv
"""


def score(options: argparse.Namespace) -> None:
    """Score, compare and calibrate, or convert. Raises UserError: damaged or unequal files, or an existing output."""
    _refuse_conflicts(options)
    # Imported here, after the flags were parsed: NumPy and SciPy take a second.
    from .score_files import convert  # noqa: PLC0415
    from .score_results import score_systems  # noqa: PLC0415

    (convert if options.convert else score_systems)(options)


def make_score_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix score``."""
    parser = CommandParser("lid-mapmix score", description=_DESCRIPTION, epilog=_EXAMPLES)
    add = parser.add_argument
    add(
        "files",
        nargs="+",
        metavar="FILE",
        help="file to score; further files of the same utterances are compared to it",
    )
    add("--labels", metavar="FILE", help="labels.yaml: cluster → classes; default: the part of a class name before '-'")
    add("--by", type=_ways, default=(), metavar="WAY,…", help="slices: duration, cluster, class, source, or any column")
    add(
        "--samples",
        type=whole_number_from(0),
        default=1000,
        metavar="N",
        help="bootstrap resamples; 0: no confidence intervals; default: 1000",
    )
    parser.add_seed("seed of the bootstrap")
    parser.add_json("write all results, in full precision,")
    add("--table", type=table_file, metavar="FILE", help="write the tables as LaTeX (.tex) or Markdown (.md)")
    parser.add_overwrite("existing files")
    truth = parser.add_argument_group("information that the file lacks").add_argument
    truth("--key", metavar="FILE", help="truth and columns: a manifest, NIST segment keys or Kaldi's utt2lang")
    truth(
        "--scores",
        choices=choices_of(Values),
        default=Values.LIKELIHOODS.value,
        help="kind of scores in Kaldi lines; default: %(default)s",
    )
    calibrate = parser.add_argument_group("calibration").add_argument
    calibrate(
        "--calibrate",
        action="append",
        default=[],
        metavar="DEV",
        help="fit a calibration on this score file, or apply this calibration (.json); once per FILE",
    )
    calibrate("--calibration", choices=choices_of(Kind), help="kind of calibration to fit; default: affine")
    calibrate("--calibrate-key", metavar="FILE", help="key of DEV")
    calibrate(
        "--class-prior",
        metavar="FILE",
        help="JSON with the class priors in the scores, such as SPLIT_metrics.json of a run; they are divided out for "
        "EER, costs and Cllr; default: equal",
    )
    calibrate("--save-calibration", metavar="FILE", help="write the calibration (.json); one FILE only")
    calibrate(
        "--reliability",
        type=_figure,
        metavar="FILE",
        help=f"draw the reliability diagram ({', '.join(_FIGURES)}); one FILE only",
    )
    conversion = parser.add_argument_group("conversion (computes no scores)")
    conversion.add_argument(
        "--convert",
        choices=choices_of(FileFormat),
        help="write FILE in another format, calibrated with --calibrate; one FILE only",
    )
    parser.add_out("file that --convert writes", metavar="FILE", group=conversion)
    parser.add_deprecated("--to", "--out")
    return parser


def _refuse_conflicts(options: argparse.Namespace) -> None:
    """End the program as argparse does, with status 2, if flags contradict each other."""
    is_alone = len(options.files) == 1
    is_calibration = any(path.endswith(CALIBRATION_SUFFIX) for path in options.calibrate)
    scores = (options.json, options.table, options.reliability, options.by, options.labels, options.save_calibration)
    faults = [
        (options.save_calibration and not is_alone, "--save-calibration: expected one FILE"),
        (options.reliability and not is_alone, "--reliability: expected one FILE"),
        (options.convert and not is_alone, "--convert: expected one FILE"),
        (bool(options.convert) != bool(options.out), "--convert and --out: expected both or neither"),
        (
            options.convert and any(scores),
            "--convert: computes no scores; remove --json, --table, --reliability, --by, --labels, --save-calibration",
        ),
        (options.calibrate and len(options.calibrate) != len(options.files), "--calibrate: expected once per FILE"),
        *(
            (getattr(options, name) and not options.calibrate, f"--{name.replace('_', '-')}: needs --calibrate DEV")
            for name in ("calibration", "calibrate_key", "save_calibration")
        ),
        *(
            (getattr(options, name) and is_calibration, f"--{name.replace('_', '-')}: DEV is already a calibration")
            for name in ("calibration", "calibrate_key")
        ),
    ]
    if wrong := next((fault for is_fault, fault in faults if is_fault), None):
        make_score_parser().error(wrong)


def _figure(text: str) -> str:
    if Path(text).suffix.lower() not in _FIGURES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a file name that ends in {' or '.join(_FIGURES)}")
    return text


def _ways(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected names separated by commas, such as duration,source")
    return names
