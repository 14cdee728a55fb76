"""The runs of a training or evaluation command."""
