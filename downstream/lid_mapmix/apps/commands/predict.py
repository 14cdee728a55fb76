"""``lid-mapmix predict RUN AUDIO…``: the language of files, folders, manifest rows, or paths on standard input."""

import argparse
import contextlib
import functools
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ...host.registry import add_upstreams
from ...scoring.choices import P_OOS
from ...utils.command_line import STANDARD_OUTPUT, CommandParser, whole_number_from
from ...utils.errors import ReportedError, UserError
from ...utils.files import replace_when_complete
from ...utils.one_line import one_line
from .prediction_formats import TRACKS, Format, answer_line, left_out_line, track_lines

if TYPE_CHECKING:
    from ...inference.identifier import Identifier
    from ...inference.recording import Recording

_STANDARD_INPUT = "-"
_EXAMPLES = """\
examples:
  two recordings and a folder of recordings; RUN is the folder of a run or an export, or USER/NAME on the Hub:
    lid-mapmix predict RUN one.wav two.mp3 recordings/
  the rows of a manifest (only the column audiopath is needed), with all classes, as JSON lines:
    lid-mapmix predict RUN calls.csv --json answers.jsonl
  paths on standard input, one per line:
    find / -name '*.flac' | lid-mapmix predict RUN -
  reject uncertain recordings ("none of these"), at the threshold that rejects 5 % of dev:
    lid-mapmix predict RUN recordings/ --reject 0.05
  segments of a recording with several languages, as an Audacity label track:
    lid-mapmix predict RUN debate.flac --format audacity --out debate.txt

The answer to silence, noise and music is "no speech". A recording far from all of dev is marked "unlike training data".
One that cannot be read is reported on standard error; the others are processed, and the exit status is 1. What
libsndfile does not read (m4a, webm, mp4, amr, wma, ...) is decoded by ffmpeg if it is installed. Files of a folder that
are no audio are counted by extension on standard error.
"""


class _Parser(CommandParser):
    """Parses ``RUN AUDIO…``, the deprecated ``-e RUN AUDIO…``, and ``--json`` into format and output."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; with the deprecated -e every positional is audio, and --json takes no FILE."""
        old = argparse.ArgumentParser(self.prog, add_help=False, allow_abbrev=False)
        old.add_argument("-e", "--from", dest="run")
        found, rest = old.parse_known_args(args)
        if found.run is not None:
            self.warn_deprecated("-e RUN AUDIO…", "RUN AUDIO…")
            args = [
                found.run,
                *(word for each in rest for word in (("--format", "json") if each == "--json" else (each,))),
            ]
        options, unknown = super().parse_known_args(args, namespace)
        if options.json is not None:
            self._apply_json(options)
        return options, unknown

    def _apply_json(self, options: argparse.Namespace) -> None:
        if options.format not in (None, Format.JSON):
            self.error(f"--json and --format {options.format} exclude each other")
        options.format = Format.JSON
        if options.json != STANDARD_OUTPUT:
            if options.out is not None:
                self.error("--json FILE and --out FILE exclude each other")
            options.out = Path(options.json)


def make_predict_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix predict``."""
    parser = _Parser(
        "lid-mapmix predict",
        description="Identify the dialect or language of recordings with a trained run.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    parser.add_run("folder of a trained run, or of an export; USER/NAME[@REVISION] for one on the Hugging Face Hub")
    add(
        "paths",
        nargs="+",
        metavar="AUDIO",
        help="audio file, folder (searched recursively), manifest (.csv), or - to read paths from standard input, one "
        "per line",
    )
    parser.add_upstream_weights()
    parser.add_device()
    add(
        "--top",
        type=whole_number_from(1),
        metavar="K",
        help="list the K most probable classes; default: 3, all in JSON",
    )
    add("--segments", action="store_true", help="identify segments instead of whole recordings")
    add(
        "--format",
        type=Format,
        choices=list(Format),
        help="text (default); json: one line per recording; audacity, rttm: one line per segment (imply --segments)",
    )
    parser.add_json("write one line per recording")
    parser.add_out("file to write; default: standard output", metavar="FILE")
    parser.add_overwrite("an existing file")
    add(
        "--reject",
        type=_probability,
        metavar="P",
        help="answer 'none of these' if the highest calibrated probability is below its P-quantile on dev "
        "(dev_scores.csv of RUN); this rejects a fraction P of dev",
    )
    add("--reject-with", metavar="AUDIO", help="answer 'none of these' for what is as unlike dev as these recordings")
    add("--p-oos", type=_probability, default=P_OOS, metavar="P", help="prior of such recordings; default: %(default)s")
    add(
        "--prior",
        default="training",
        metavar="PRIOR",
        help="class priors of the recordings: training (default), equal, or a JSON file with a number per class",
    )
    add(
        "--any-sound",
        action="store_true",
        help="disable voice-activity detection: silence, noise and music are assigned a class too",
    )
    return parser


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0 and below 1, such as 0.05, found {text!r}")
    return value


def predict(options: argparse.Namespace) -> None:
    """Identify the recordings. Raises UserError: no such run, or wrong flags; ReportedError: one was not read."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...data.audio.folders import describe_left_out  # noqa: PLC0415
    from ...inference.identifier import Identifier  # noqa: PLC0415

    form = options.format or Format.TEXT
    if options.out is not None and options.out.exists():
        if not options.out.is_file():
            raise UserError(
                f"{options.out}: expected a file to write, found a folder or a device. Name a file by --out."
            )
        if not options.overwrite:
            raise UserError(f"{options.out}: exists already. Name another file by --out, or replace it by --overwrite.")
    if options.reject_with is not None and (options.segments or form in TRACKS):
        raise UserError("--reject-with: expected whole recordings, found segments. Leave one out.")
    if options.reject is not None and options.prior != "training":
        raise UserError(
            "--reject and --prior exclude each other: the quantiles of dev are under the priors of training."
        )
    prior = options.prior if options.prior in ("training", "equal") else _read_prior(options.prior)
    reports = _Reports()
    sources = list(_sources(options.paths, reports))
    if form is Format.AUDACITY and len(sources) > 1:
        raise UserError(
            f"--format audacity: expected one recording, found {len(sources)}. Name one, or use --format rttm."
        )
    add_upstreams(options.upstream_from)
    identifier = Identifier.from_pretrained(
        options.run, options.device, detect_speech=not options.any_sound, upstream_weights=options.weights, prior=prior
    )
    _print_conditions(identifier, options)
    by_segment = options.segments or form in TRACKS
    if options.reject_with is not None:
        others = _opened(list(_sources([options.reject_with], reports)), reports)
        print(f"[lid_mapmix] {identifier.reject_with(others, options.p_oos)}", file=sys.stderr)
    with _output(options.out) as write, tqdm(total=len(sources), unit="recording", disable=None, delay=1) as bar:
        prediction = _Prediction(identifier, options, form, reports, bar)
        recordings = _opened(sources, reports)
        for line in prediction.segments(recordings) if by_segment else prediction.answers(recordings):
            write(line)
        for folder, counts in reports.left_out.items():
            tqdm.write(one_line(f"[lid_mapmix] {folder}: left out: {describe_left_out(counts)}"), file=sys.stderr)
            if form is Format.JSON:
                write(left_out_line(folder, counts))
    if (scores := _open_set_scores(identifier.classes, prediction.known, options.p_oos)) is not None:
        print(f"[lid_mapmix] {scores}", file=sys.stderr)
    if reports.count:
        raise ReportedError


class _Reports:
    """Prints the error of each recording that cannot be read, and counts them and what was left out."""

    def __init__(self) -> None:
        self.count = 0
        # Folder → extension → number of files that are not audio by their extension.
        self.left_out: dict[str, Counter[str]] = {}

    def add(self, fault: UserError) -> None:
        self.count += 1
        tqdm.write(f"error: {one_line(str(fault))}", file=sys.stderr)


@dataclass
class _Prediction:
    """Turns recordings into output lines, with a progress bar."""

    identifier: "Identifier"
    options: argparse.Namespace
    form: Format
    reports: _Reports
    bar: Any
    seconds: float = 0.0
    known: list[tuple] = field(default_factory=list)  # true class, answered class or None, novelty or None

    def answers(self, recordings: "Iterator[Recording]") -> Iterator[str]:
        """Yield the line of each recording."""
        ahead, behind = itertools.tee(recordings)
        found = self.identifier.identify(ahead, reject=self.options.reject, progress=self._show)
        for answer, recording in zip(found, behind, strict=True):
            self.bar.update()
            if isinstance(answer, UserError):
                self.reports.add(answer)
            else:
                if recording.truth:
                    self.known.append((recording.truth, answer.label, answer.novelty))
                yield answer_line(answer, self.form, self.options.top)

    def segments(self, recordings: "Iterator[Recording]") -> Iterator[str]:
        """Yield the lines of each recording's segments."""
        for recording in recordings:
            try:
                segments = self.identifier.segments(recording, reject=self.options.reject, progress=self._show)
            except UserError as fault:
                self.reports.add(fault)
            else:
                yield from track_lines(recording, segments, self.form)
            self.bar.update()

    def _show(self, seconds: float) -> None:
        self.seconds += seconds
        self.bar.set_postfix_str(f"{self.seconds / 60:.1f} min of windows")


def _open_set_scores(classes: Sequence[str], known: Sequence[tuple], p_oos: float) -> str | None:
    """Return open-set scores of `known` in one line; None if all or none of the recordings are of the classes."""
    import numpy as np  # noqa: PLC0415

    from ...scoring.open_set import auroc, open_set_cost  # noqa: PLC0415

    number = {name: place for place, name in enumerate(classes)}
    truth, answers = (np.array([number.get(row[column], -1) for row in known]) for column in (0, 1))
    if (truth >= 0).all() or not (truth >= 0).any():
        return None
    novelties = np.array([row[2] for row in known], dtype=np.float64)
    inside, outside = (novelties[chosen & ~np.isnan(novelties)] for chosen in (truth >= 0, truth < 0))
    return (
        f"open set: {(truth >= 0).sum()} recordings of the classes, {(truth < 0).sum()} of others: AUROC of novelty "
        f"{auroc(inside, outside):.3f}, cost at P_oos {p_oos:g} {open_set_cost(answers, truth, p_oos):.3f}"
    )


def _read_prior(path: str) -> dict[str, float]:
    from ...scoring.class_priors import read_priors  # noqa: PLC0415

    try:
        if (priors := read_priors(path)) is None:
            raise ValueError("none, as in runs of version 0.1.0")
    except (OSError, ValueError) as error:
        raise UserError(
            f"--prior {path}: expected training, equal, or a JSON file with a number per class, found: "
            f"{one_line(str(error))}."
        ) from None
    return priors


def _print_conditions(identifier: "Identifier", options: argparse.Namespace) -> None:
    """Print on standard error whether probabilities are calibrated, and the rejection threshold."""
    from ...inference.answer import rejection_threshold  # noqa: PLC0415

    if identifier.trained.calibration is None:
        print(f"[lid_mapmix] probabilities are not calibrated: {options.run} has no calibration", file=sys.stderr)
    elif identifier.trained.calibration.has_few_errors:
        print(f"[lid_mapmix] warning: calibration: {identifier.trained.calibration.basis}", file=sys.stderr)
    threshold = rejection_threshold(identifier.trained.confidence, options.reject)
    if options.reject is not None:
        print(f"[lid_mapmix] 'none of these': highest probability below {threshold:.3f}", file=sys.stderr)


_Source = Callable[[], "Recording"]


def _sources(paths: Sequence[str], reports: _Reports) -> Iterator[_Source]:
    """Yield a function per recording that opens it."""
    from ...data.manifest.manifest import PARQUET, read_manifest  # noqa: PLC0415
    from ...inference.recording import Recording  # noqa: PLC0415

    for name in paths:
        if name == _STANDARD_INPUT:
            yield from _sources(_paths_of_standard_input(), reports)
            continue
        path = Path(name)
        try:
            if not path.exists():
                raise UserError(
                    f"{name}: no such file or folder. Name an audio file, a folder of audio, or a manifest (.csv)."
                )
            if path.is_dir():
                yield from (functools.partial(Recording.of_file, each) for each in _audio_below(path, reports))
            elif path.suffix.lower() in (".csv", PARQUET):
                manifest = read_manifest(path, is_labelled=False)
                yield from (functools.partial(Recording.of_utterance, manifest, row) for row in range(len(manifest)))
            else:
                yield functools.partial(Recording.of_file, path)
        except UserError as fault:
            reports.add(fault)


def _opened(sources: Sequence[_Source], reports: _Reports) -> "Iterator[Recording]":
    for source in sources:
        try:
            yield source()
        except UserError as fault:
            reports.add(fault)


def _audio_below(folder: Path, reports: _Reports) -> list[Path]:
    from ...data.audio.conversion import FOREIGN_EXTENSIONS  # noqa: PLC0415
    from ...data.audio.folders import EXTENSIONS, audio_below  # noqa: PLC0415

    before, left_out = reports.count, Counter[str]()
    extensions = (*EXTENSIONS, *FOREIGN_EXTENSIONS)
    found = audio_below(folder, reports.add, extensions, left_out)
    if left_out:
        reports.left_out[str(folder)] = left_out
    if not found and reports.count == before:
        raise UserError(
            f"{folder}: expected audio ({' '.join(extensions)}), found none. Name another folder, or files."
        )
    return found


def _paths_of_standard_input() -> list[str]:
    content = sys.stdin.buffer.read()
    if b"\0" in content:
        raise UserError("-: expected paths on standard input, one per line, found binary data. Name the audio file.")
    # Leading and trailing whitespace may be part of a name.
    lines = [os.fsdecode(line) for line in content.splitlines()]
    return [line for line in lines if line.strip() and line != _STANDARD_INPUT]


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Give a function that writes a line, to a file (complete or absent) or to standard output."""
    if path is not None:
        with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield lambda line: print(line, file=file)
        return
    try:
        yield _print
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe; Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReportedError from None


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
