"""S3PRL on the stack of today. Knows S3PRL and nothing of the method."""
