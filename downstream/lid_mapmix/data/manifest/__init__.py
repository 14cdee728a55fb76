"""Manifests: the utterances of a split, in CSV or Parquet."""
