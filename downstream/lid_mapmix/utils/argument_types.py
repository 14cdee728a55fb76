"""Types of flags that several commands share; nothing here imports more than argparse."""

import argparse
from collections.abc import Callable
from enum import StrEnum


def choices_of(choices: type[StrEnum]) -> list[str]:
    """Return the values of an enum, for ``choices=``."""
    return [choice.value for choice in choices]


def whole_number_from(minimum: int) -> Callable[[str], int]:
    """Return the type of a flag that takes a whole number of at least `minimum`, such as a seed."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {minimum}")
        return int(text)

    return parse
