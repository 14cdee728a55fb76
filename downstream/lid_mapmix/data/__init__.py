"""Manifests, audio, datasets and keyed sampling."""
