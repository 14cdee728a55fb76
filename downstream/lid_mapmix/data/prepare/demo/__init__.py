"""The demo corpus: synthetic dialects, spoken by eSpeak NG."""

from .demo import CORPUS as CORPUS
