"""``lid-mapmix score FILE…``: scores of any system's file, differences between systems, calibration, conversion.

Here are its flags; what it does with files is in score_files.py, what it computes and prints in score_results.py.
"""

import argparse
from pathlib import Path

from ...scoring.choices import CALIBRATION_SUFFIX, FileFormat, Kind, Values
from ...utils.argument_types import choices_of, whole_number_from
from ..report.table_files import table_file

_PICTURES = (".png", ".pdf", ".svg")
_DESCRIPTION = """\
Score what any system says of some utterances, compare systems, calibrate, and convert files of scores.

FILE is SPLIT_scores.csv as a run leaves it, a NIST LRE table (segmentid and a column of log-likelihood ratios a
language), Kaldi's and OLR's lines 'utterance language score', ML-SUPERB's lid.trn, S3PRL's SPLIT_predict.txt beside its
SPLIT_truth.txt, or the CSV of Map-Mix's published code. The format is recognised. NIST's and Kaldi's hold no truth and
need --key; files of answers without scores have accuracy, F1 and cluster accuracy only."""
_EXAMPLES = """\
examples:
  scores with 95 % intervals, by duration and cluster:
    lid-mapmix score result/downstream/first/test_scores.csv --by duration,cluster
  is the second system better than the first?
    lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --json compared.json
  the same as tables for a paper, in LaTeX (booktabs):
    lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --table compared.tex
  a submission to NIST LRE17, by the key of the evaluation:
    lid-mapmix score scores.tsv --key lre17_eval_segment_keys.tsv --by duration,source
  calibrate on dev, score test, and keep the calibrated scores as log-likelihood ratios:
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --calibration vector --reliability curve.png
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --convert nist --to scores.tsv
"""


def score(options: argparse.Namespace) -> None:
    """Do what the flags ask for, and print what came of it.

    Raises
    ------
    UserError : a file in the way, a damaged file, files that do not fit each other.
    """
    _refuse_conflicts(options)
    # Imported here, once the flags are known to be right: NumPy and SciPy take a second.
    from .score_files import convert  # noqa: PLC0415
    from .score_results import score_systems  # noqa: PLC0415

    (convert if options.convert else score_systems)(options)


def make_score_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix score``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix score",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "files", nargs="+", metavar="FILE", help="one to score; more, of the same utterances, are compared to the first"
    )
    add("--labels", metavar="FILE", help="labels.yaml: cluster → classes; default: a cluster is what stands before '-'")
    add("--by", type=_ways, default=(), metavar="WAY,…", help="slices: duration, cluster, class, source, or any column")
    add(
        "--samples",
        type=whole_number_from(0),
        default=1000,
        metavar="N",
        help="of the bootstrap; 0: no intervals; default: 1000",
    )
    add("--seed", type=whole_number_from(0), default=0, metavar="N", help="of the bootstrap; default: 0")
    add("--json", metavar="FILE", help="also write everything as JSON, in full precision")
    add("--table", type=table_file, metavar="FILE", help="also write the tables as LaTeX (.tex) or Markdown (.md)")
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--debug", action="store_true", help="show the traceback of an error")
    truth = parser.add_argument_group("what the file does not say").add_argument
    truth("--key", metavar="FILE", help="truth and columns: a manifest, NIST's segment keys or Kaldi's utt2lang")
    truth(
        "--scores",
        choices=choices_of(Values),
        default=Values.LIKELIHOODS.value,
        help="what Kaldi's lines hold; default: %(default)s",
    )
    calibrate = parser.add_argument_group("calibration").add_argument
    calibrate(
        "--calibrate",
        action="append",
        default=[],
        metavar="DEV",
        help="fit on this file of scores, or take this calibration (.json); once for each FILE",
    )
    calibrate("--calibration", choices=choices_of(Kind), help="what is fitted; default: temperature")
    calibrate("--calibrate-key", metavar="FILE", help="the key of DEV")
    calibrate("--save-calibration", metavar="FILE", help="write the calibration of the only FILE (.json)")
    calibrate(
        "--reliability",
        type=_picture,
        metavar="FILE",
        help=f"draw the reliability curve of the only FILE ({', '.join(_PICTURES)})",
    )
    convert = parser.add_argument_group("conversion, in place of scores").add_argument
    convert(
        "--convert",
        choices=choices_of(FileFormat),
        help="write the only FILE, calibrated where asked to, in another format …",
    )
    convert("--to", metavar="FILE", help="… to this file; for s3prl SPLIT_predict.txt")
    return parser


def _refuse_conflicts(options: argparse.Namespace) -> None:
    """End the program as argparse does, with status 2, where flags do not go together."""
    is_alone = len(options.files) == 1
    is_calibration = any(path.endswith(CALIBRATION_SUFFIX) for path in options.calibrate)
    scores = options.json or options.table or options.reliability or options.save_calibration or options.by
    faults = [
        (options.save_calibration and not is_alone, "--save-calibration: takes one FILE; give one"),
        (options.reliability and not is_alone, "--reliability: takes one FILE; give one"),
        (options.convert and not is_alone, "--convert: takes one FILE; give one"),
        (bool(options.convert) != bool(options.to), "--convert and --to go together; give both"),
        (options.convert and scores, "--convert: scores nothing; leave the others out"),
        (options.calibrate and len(options.calibrate) != len(options.files), "--calibrate: is given once a FILE"),
        *(
            (getattr(options, name) and not options.calibrate, f"--{name.replace('_', '-')}: needs --calibrate DEV")
            for name in ("calibration", "calibrate_key", "save_calibration")
        ),
        *(
            (getattr(options, name) and is_calibration, f"--{name.replace('_', '-')}: DEV is a calibration already")
            for name in ("calibration", "calibrate_key")
        ),
    ]
    if wrong := next((fault for is_fault, fault in faults if is_fault), None):
        make_score_parser().error(wrong)


def _picture(text: str) -> str:
    if Path(text).suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends in {' or '.join(_PICTURES)}")
    return text


def _ways(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected names with commas between, such as duration,source")
    return names
