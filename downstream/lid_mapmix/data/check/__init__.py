"""Checks of a corpus: measures of samples and columns, and reading the files for them."""
