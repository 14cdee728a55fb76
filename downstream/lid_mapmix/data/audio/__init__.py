"""Audio files and tar shards: opening, reading, resampling."""
