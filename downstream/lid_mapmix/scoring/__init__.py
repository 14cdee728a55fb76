"""Scores of a system, and the files of scores."""
