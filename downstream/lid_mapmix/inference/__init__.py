"""Identification of the spoken language or dialect with a trained or exported run, without its training data."""
