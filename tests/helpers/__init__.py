"""What tests share: corpora, models and runs that they make."""
