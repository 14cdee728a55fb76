"""Settings: their schema, where they come from, what is checked of them."""
