"""Files of scores: a module per format."""
