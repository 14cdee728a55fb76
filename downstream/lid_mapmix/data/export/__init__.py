"""Prepared corpora in other forms: tar shards, Kaldi, NeMo, Parquet; here only what a command line may ask for."""

from enum import StrEnum

DEFAULT_SHARD_BYTES = 10**9


class AudioFormat(StrEnum):
    """What audio is packed as."""

    KEEP = "keep"
    FLAC = "flac"


class ManifestForm(StrEnum):
    """What manifests are written as."""

    KALDI = "kaldi"
    JSONL = "jsonl"
    PARQUET = "parquet"
