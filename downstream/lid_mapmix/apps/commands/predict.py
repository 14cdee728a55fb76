"""``lid-mapmix predict``: what is spoken in files, folders, the rows of a manifest, or the paths of a pipe."""

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ...utils.errors import ReportedError, UserError
from ...utils.files import replace_when_complete
from .prediction_formats import TRACKS, Format, answer_line, one_line, track_lines

if TYPE_CHECKING:
    from ...inference.identifier import Identifier
    from ...inference.recording import Recording

_STANDARD_INPUT = "-"
_EXAMPLES = """\
examples:
  what is spoken in two recordings and in a folder of them; DIR is the folder of a run, or an exported one:
    lid-mapmix predict -e DIR one.wav two.mp3 recordings/
  the rows of a manifest (only its audiopath column is needed), all classes, as JSON lines:
    lid-mapmix predict -e DIR calls.csv --json > answers.jsonl
  from a pipe, a path a line:
    find / -name '*.flac' | lid-mapmix predict -e DIR -
  "none of these" for what is less certain than all but 5 % of dev:
    lid-mapmix predict -e DIR recordings/ --reject 0.05
  who speaks what when, as a label track for Audacity:
    lid-mapmix predict -e DIR debate.flac --format audacity --out debate.txt

Silence, noise and music are answered by "no speech". A recording that cannot be read is reported on standard error, the
others go on, and the exit status is 1.
"""


def make_predict_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix predict``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix predict",
        description="Say which dialect or language is spoken in recordings, by a trained run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="audio file, folder (with all below it), manifest (.csv), or - for paths on standard input, one a line "
        "(paths, not audio)",
    )
    add("-e", "--from", dest="run", required=True, type=Path, metavar="DIR", help="folder of a run, or an exported one")
    add("-k", dest="weights", metavar="PATH", help="where the weights of the run's upstream lie now")
    add("--device", help="where to compute (default: a GPU where there is one)")
    add("--top", type=_count, metavar="K", help="list the K likeliest classes (default: 3; in JSON all)")
    add("--segments", action="store_true", help="say what is spoken when, in place of one answer a recording")
    add(
        "--format",
        type=Format,
        choices=list(Format),
        help="text (default); json: a line a recording; audacity, rttm: label tracks (with --segments)",
    )
    add("--json", dest="format", action="store_const", const=Format.JSON, help="the same as --format json")
    add("--out", type=Path, metavar="FILE", help="write there in place of standard output; not over a file")
    add("--overwrite", action="store_true", help="let --out replace a file")
    add(
        "--reject",
        type=_share,
        metavar="P",
        help="answer 'none of these' where the likeliest class has a (calibrated) probability below the P-quantile of "
        "what it has on dev: a share P of utterances of known languages is then rejected, by dev_scores.csv of DIR",
    )
    add("--any-sound", action="store_true", help="do not tell speech from other sounds; every sound is given a class")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 up to 1, such as 0.05, found {text!r}")
    return share


def predict(options: argparse.Namespace) -> None:
    """Identify what the command line names and write the answers.

    Raises
    ------
    UserError : the run cannot be used, or the flags contradict each other.
    ReportedError : a recording could not be read; the others have been answered.
    """
    # Imported here, once the flags are known to be right: torch takes seconds.
    from ...inference.identifier import Identifier  # noqa: PLC0415

    form = options.format or Format.TEXT
    if options.out is not None and options.out.exists():
        if not options.out.is_file():
            raise UserError(f"{options.out}: is no file, and is not replaced. Name another one by --out.")
        if not options.overwrite:
            raise UserError(f"{options.out}: is there already. Name another file by --out, or give --overwrite.")
    reports = _Reports()
    sources = list(_sources(options.paths, reports))
    if form is Format.AUDACITY and len(sources) > 1:
        raise UserError(
            f"--format audacity: a label track is of one recording, found {len(sources)}. Name one, or use rttm."
        )
    identifier = Identifier.from_pretrained(
        options.run, options.device, detect_speech=not options.any_sound, upstream_weights=options.weights
    )
    _say_how(identifier, options)
    is_track = options.segments or form in TRACKS
    with _output(options.out) as write, tqdm(total=len(sources), unit="recording", disable=None, delay=1) as bar:
        prediction = _Prediction(identifier, options, form, reports, bar)
        recordings = _opened(sources, reports)
        for line in prediction.tracks(recordings) if is_track else prediction.answers(recordings):
            write(line)
    if reports.count:
        raise ReportedError


class _Reports:
    """What is wrong with single recordings, said at once, while the others go on."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, fault: UserError) -> None:
        self.count += 1
        tqdm.write(f"error: {one_line(str(fault))}", file=sys.stderr)


@dataclass
class _Prediction:
    """From recordings to the lines of their answers, with a progress bar."""

    identifier: "Identifier"
    options: argparse.Namespace
    form: Format
    reports: _Reports
    bar: Any
    seconds: float = 0.0

    def answers(self, recordings: "Iterator[Recording]") -> Iterator[str]:
        """Yield the line of each recording."""
        for answer in self.identifier.identify(recordings, reject=self.options.reject, progress=self._show):
            self.bar.update()
            if isinstance(answer, UserError):
                self.reports.add(answer)
            else:
                yield answer_line(answer, self.form, self.options.top)

    def tracks(self, recordings: "Iterator[Recording]") -> Iterator[str]:
        """Yield the lines of each recording's label track."""
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


def _say_how(identifier: "Identifier", options: argparse.Namespace) -> None:
    """Say on standard error what an answer's reader has to know."""
    from ...inference.answer import rejection_threshold  # noqa: PLC0415

    if not identifier.is_calibrated:
        print(f"[lid_mapmix] probabilities are not calibrated: {options.run} has no calibration.json", file=sys.stderr)
    threshold = rejection_threshold(identifier.trained.confidence, options.reject)
    if options.reject is not None:
        print(f"[lid_mapmix] 'none of these' is what has a top probability below {threshold:.3f}", file=sys.stderr)


_Source = Callable[[], "Recording"]


def _sources(paths: Sequence[str], reports: _Reports) -> Iterator[_Source]:
    """Yield what opens each recording that the command line names."""
    from ...data.manifest.manifest import PARQUET, read_manifest  # noqa: PLC0415
    from ...inference.recording import Recording  # noqa: PLC0415

    for name in paths:
        if name == _STANDARD_INPUT:
            yield from _sources(_paths_of_standard_input(), reports)
            continue
        path = Path(name)
        try:
            if not path.exists():
                raise UserError(f"{name}: no such file or folder. Name audio, a folder of it, or a manifest (.csv).")
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
    from ...data.audio.folders import EXTENSIONS, audio_below  # noqa: PLC0415

    before = reports.count
    found = audio_below(folder, reports.add)
    if not found and reports.count == before:
        raise UserError(f"{folder}: found no audio ({' '.join(EXTENSIONS)}). Name another folder, or the files.")
    return found


def _paths_of_standard_input() -> list[str]:
    content = sys.stdin.buffer.read()
    if b"\0" in content:
        raise UserError("-: expected paths on standard input, one a line, found audio or other data. Name the file.")
    # Blanks may be part of a name.
    lines = [os.fsdecode(line) for line in content.splitlines()]
    return [line for line in lines if line.strip() and line != _STANDARD_INPUT]


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Give what writes a line, to a file that is complete or absent, or to standard output."""
    if path is not None:
        with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield lambda line: print(line, file=file)
        return
    try:
        yield _print
    except BrokenPipeError:
        # Whoever read has had enough, as `head` has; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReportedError from None


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
