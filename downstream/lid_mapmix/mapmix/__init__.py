"""The method, pure: labels, mixup, training dynamics, data map. Knows neither S3PRL nor audio files."""
