"""Formats of files of scores: one class per format."""
