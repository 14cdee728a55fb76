"""Map-Mix dialect and language identification as an S3PRL downstream task."""
