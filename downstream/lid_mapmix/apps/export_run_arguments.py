"""The command line of ``lid-mapmix export``; nothing here imports torch, so that its help is there at once."""

import argparse
from pathlib import Path

_EXAMPLES = """\
examples:
  lid-mapmix export result/downstream/first dialects      # writes dialects/, for Identifier and predict
  lid-mapmix predict -e dialects recording.wav
  lid-mapmix export result/downstream/first dialects -k moved/weights.pt   # the upstream's weights lie elsewhere now

The folder holds model.safetensors (upstream, featurizer, head), config.json, calibration.json where the run has one,
and a model card. It needs neither the training data nor the upstream's checkpoint, and loading it unpickles nothing.
"""


def make_export_run_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix export``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix export",
        description="Make a folder of a trained run that identifies anywhere: safetensors weights, settings as JSON.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="EXPDIR", help="folder of a run, or a checkpoint in it")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, which is not there yet")
    parser.add_argument("-k", dest="weights", metavar="PATH", help="where the weights of the run's upstream lie now")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that was exported before")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
