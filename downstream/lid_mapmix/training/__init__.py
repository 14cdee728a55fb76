"""The training of a run: what it trains on, its steps, dynamics and checkpoints."""
