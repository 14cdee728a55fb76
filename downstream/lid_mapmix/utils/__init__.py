"""Used by every other package: errors, files, random draws, processes, and the names of a run's files."""
