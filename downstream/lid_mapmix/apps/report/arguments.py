"""The command line of ``lid-mapmix report``; nothing here imports torch, so that its help is there at once."""

import argparse

_EXAMPLES = """\
examples:
  of a trained run, into result/downstream/first/report.html:
    lid-mapmix report result/downstream/first
  of its dev scores, elsewhere:
    lid-mapmix report result/downstream/first --split dev --out first-dev.html
  the audio has moved since:
    lid-mapmix report result/downstream/first --data /mnt/corpora/demo
"""


def make_report_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix report``; flags that are not given are None."""
    parser = argparse.ArgumentParser(
        "lid-mapmix report",
        description="Write one HTML page of a run: scores, pictures, the worst utterances to hear, its settings. "
        "The page needs no network and no other file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a run that has scored a split")
    add("--split", metavar="SPLIT", help="whose scores; default: test, or dev where test was not scored")
    add("--data", metavar="DIR", help="folder of SPLIT.csv, whose audio is played; default: the one of the run")
    add("--out", metavar="FILE", help="the page to write; default: EXPDIR/report.html")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser
