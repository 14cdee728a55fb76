"""The demo corpus: synthetic dialects that eSpeak NG speaks."""

from .demo import CORPUS

__all__ = ["CORPUS"]
