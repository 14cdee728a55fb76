"""What is spoken in a recording: a trained run, or an exported one, put to use without its training data."""
