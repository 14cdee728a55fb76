"""One module a corpus: each writes manifests and labels.yaml."""
