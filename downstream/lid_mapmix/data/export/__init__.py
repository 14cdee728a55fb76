"""Exports of prepared corpora: tar shards, Lhotse, Parquet. This file has only the choices for command lines."""

from enum import StrEnum

DEFAULT_SHARD_BYTES = 10**9


class ManifestForm(StrEnum):
    """Format of exported manifests."""

    LHOTSE = "lhotse"
    PARQUET = "parquet"
