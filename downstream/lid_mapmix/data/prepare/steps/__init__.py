"""What the preparation of every corpus has in common."""
