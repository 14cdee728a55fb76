"""S3PRL on current versions of its dependencies. Depends on S3PRL, and on nothing of the method."""
