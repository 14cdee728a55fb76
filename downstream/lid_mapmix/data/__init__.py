"""Data: manifests, audio, augmentation, loaders; preparing, checking and exporting corpora."""

SPLITS = ("train", "dev", "test")
LABELS_FILE = "labels.yaml"
