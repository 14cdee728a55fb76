"""The corpora of ``lid-mapmix prepare``: one module each, with an object ``CORPUS``, in the order of the help."""

from importlib import import_module

from .steps.corpus import Corpus

CORPORA = (
    "demo",
    "folder",
    "asterisk",
    "commonlanguage",
    "commonvoice",
    "fleurs",
    "huggingface",
    "jsonl",
    "kaldi",
    "lhotse",
    "lre17",
    "mlsuperb",
    "voxlingua107",
)


def find_corpus(name: str) -> Corpus:
    """Return one of `CORPORA`."""
    return import_module(f".{name}", __name__).CORPUS
