"""``lid-mapmix datamap RUN``: compute the data map of recorded epochs, with other regions, its figure, its suspects.

Writes datamap.csv and class_similarity.csv (byte for byte those of the run unless a flag changes them), datamap.png
and, by a flag, suspects.csv. runs/recorded_datamap.py computes them.
"""

import argparse
from pathlib import Path

from ...utils.command_line import CommandParser, whole_number_from
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder

_EXAMPLES = """\
examples:
  the data map of a run (-v datamap, or any variant that trains a data map first):
    lid-mapmix datamap result/downstream/first
  skip the first two epochs, assign regions by quantiles per class, write to another folder, and train on the result:
    lid-mapmix datamap result/downstream/first --skip-first 2 --regions quantile --per-class --out maps/late
    lid-mapmix run -u fbank --data DATA -o config.downstream_expert.mapmix.datamap=maps/late/datamap.csv
  the 50 most likely label errors:
    lid-mapmix datamap result/downstream/first --suspects 50
  the utterances whose label is probably wrong, as many as estimated, and the data without them:
    lid-mapmix datamap result/downstream/first --suspects auto --clean data/clean
"""
# A test keeps them equal to RegionRule, whose module imports NumPy.
_RULES = ("fixed", "quantile")
_AUTO = "auto"
REGION_FLAGS = {
    "regions": "fixed: by four thresholds; quantile: by two fractions",
    "easy_confidence": "fixed: minimum confidence of easy utterances",
    "easy_variability": "fixed: maximum variability of easy utterances",
    "hard_confidence": "fixed: maximum confidence of hard utterances",
    "hard_variability": "fixed: maximum variability of hard utterances",
    "easy_fraction": "quantile: fraction of utterances, those with the highest confidence, that is easy",
    "hard_fraction": "quantile: fraction of utterances, those with the lowest confidence, that is hard",
}


def make_datamap_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix datamap``; region flags that are not given are None."""
    parser = CommandParser(
        "lid-mapmix datamap",
        description="Compute the data map of a run from its recorded epochs, draw it, and list suspicious labels.\n"
        "Trains nothing.",
        epilog=_EXAMPLES,
    )
    count = whole_number_from(1)
    add = parser.add_argument
    parser.add_run("folder of a run that recorded a data map, in RUN or in RUN/datamap")
    add("--data", metavar="DIR", help="folder with train.csv and labels.yaml; default: that of the run")
    parser.add_out("folder to write; default: the folder of the recorded epochs")
    parser.add_deprecated("--into", "--out")
    parser.add_overwrite("a data map or a list of suspects that differs")
    add(
        "--suspects",
        type=lambda text: text if text == _AUTO else count(text),
        metavar="N",
        help="list the N most likely label errors, and write suspects.csv; auto: those whose label is probably wrong",
    )
    add("--clean", metavar="DIR", help="write the data without the suspects to a new folder; copies no audio")
    add("--relabel", action="store_true", help="--clean: keep the suspects, under the class that the model preferred")
    epochs = parser.add_argument_group("epochs to use (default: all complete epochs)").add_argument
    epochs("--skip-first", type=whole_number_from(0), default=0, metavar="K", help="skip the first K epochs")
    epochs("--keep-first", type=count, metavar="K", help="use only the first K of the remaining epochs")
    group = parser.add_argument_group("regions (default: as in the run)")
    for name, meaning in REGION_FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "regions":
            group.add_argument(flag, choices=_RULES, help=meaning)
        else:
            group.add_argument(flag, type=float, metavar="X", help=meaning)
    group.add_argument(
        "--label-noise", action="store_true", default=None, help="hard: utterances whose label is probably wrong"
    )
    for region in ("easy", "hard"):
        parser.add_deprecated(f"--{region}-share", f"--{region}-fraction")
    scope = group.add_mutually_exclusive_group()
    scope.add_argument(
        "--per-class", dest="per_class", action="store_true", default=None, help="quantile: fractions of each class"
    )
    scope.add_argument("--global", dest="per_class", action="store_false", help="quantile: fractions of all utterances")
    return parser


def make_map(options: argparse.Namespace) -> None:
    """Compute the data map, print the number of utterances per class and region, and write the files.

    Raises UserError: the run does not exist, the data or settings do not match, no epoch is left, or another data map
    exists.
    """
    # Imported here, after the flags were parsed: torch takes seconds.
    from ..runs.recorded_datamap import RecordedDatamap  # noqa: PLC0415

    if (options.clean or options.relabel) and not (options.suspects and options.clean):
        raise UserError("--clean DIR needs --suspects, and --relabel needs --clean. Add --suspects auto --clean DIR.")
    folder = _recorded_folder(RunFolder(options.run))
    regions = {name: getattr(options, name) for name in (*REGION_FLAGS, "per_class", "label_noise")}
    datamap = RecordedDatamap.read(
        folder, options.data, regions, skip_first=options.skip_first, keep_first=options.keep_first
    )
    out = RunFolder(options.out) if options.out else folder
    count = None if options.suspects == _AUTO else options.suspects
    suspects = datamap.suspects(count) if options.suspects else None
    print(f"{folder}: {len(datamap.manifest)} utterances, epochs {', '.join(map(str, datamap.dynamics.epochs))}\n")
    print(datamap.region_table())
    if suspects is not None:
        print(f"\n{datamap.suspect_tables(suspects)}")
    # Another run may be training in that folder.
    with out.held("write to another folder by --out DIR"):
        numbers = datamap.write_numbers(out, suspects, overwrite=options.overwrite)
        print("\nwritten:")
        # Printed before drawing: these files exist even if the figure cannot be drawn.
        for path in numbers:
            print(f"  {path}")
        if suspects is not None and options.clean:
            datamap.write_clean(Path(options.clean), suspects, relabel=options.relabel)
            done = "under the class that the model preferred" if options.relabel else "removed"
            print(f"  {options.clean}: {len(suspects.utterances)} of {len(datamap.manifest)} utterances {done}")
        datamap.draw(out.datamap_figure)
        print(f"  {out.datamap_figure}")


def _recorded_folder(folder: RunFolder) -> RunFolder:
    if not folder.path.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a run that recorded a data map (-v datamap).")
    candidates = [each for each in (folder, folder.datamap_stage) if each.dynamics.is_dir()]
    if candidates:
        # An empty folder is left after a recording was deleted.
        return max(candidates, key=RunFolder.holds_recording)
    own, stage = (each.dynamics.relative_to(folder.path) for each in (folder, folder.datamap_stage))
    raise UserError(
        f"{folder}: expected a recorded data map ({own}/ or {stage}/), found none. Train -v datamap, or a variant that "
        "needs a data map, such as mapmix."
    )
