"""Common steps of the preparation of all corpora."""
