"""The demo corpus: synthetic dialects that eSpeak NG speaks."""

from .demo import DESCRIPTION, EXAMPLES, add_arguments, run

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]
