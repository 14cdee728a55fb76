"""The settings of a run, from flags and files."""
