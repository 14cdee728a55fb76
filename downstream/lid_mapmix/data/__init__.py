"""Data: manifests, audio, augmentation, loaders; corpora prepared, checked and exported."""

SPLITS = ("train", "dev", "test")
LABELS_FILE = "labels.yaml"
