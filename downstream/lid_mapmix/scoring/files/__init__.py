"""Files of scores: a class per format."""
