"""Evaluation of a run: windows, scores, calibration on dev, latents."""
