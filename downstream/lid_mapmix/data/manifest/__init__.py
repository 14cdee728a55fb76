"""Manifests: which utterances a split has; CSV and Parquet."""
