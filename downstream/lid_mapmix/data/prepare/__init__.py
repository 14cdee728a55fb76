"""The corpora of ``lid-mapmix prepare``: one module each, with an object ``CORPUS``, in the order of the help."""

from importlib import import_module

from .steps.corpus import Corpus

CORPORA = (
    "demo",
    "folder",
    "adi17",
    "asterisk",
    "commonvoice",
    "fleurs",
    "huggingface",
    "jsonl",
    "kaldi",
    "kespeech",
    "lhotse",
    "lre17",
    "mlsuperb",
    "nist",
    "voxlingua107",
)


def find_corpus(name: str) -> Corpus:
    """Return one of `CORPORA`."""
    return import_module(f".{name}", __name__).CORPUS
