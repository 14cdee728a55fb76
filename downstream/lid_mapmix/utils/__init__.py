"""What every room uses: errors, files, random draws, processes, the names of a run's files."""
