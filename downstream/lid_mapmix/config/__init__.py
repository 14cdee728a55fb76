"""Settings: their schema, sources and checks."""
