"""Prepared corpora in other forms: tar shards, Kaldi, NeMo, Parquet."""
