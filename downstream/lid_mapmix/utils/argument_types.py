"""Types of flags that several commands share; nothing here imports more than argparse."""

import argparse
from collections.abc import Callable
from enum import StrEnum


def choices_of(choices: type[StrEnum]) -> list[str]:
    """Return what a flag takes that chooses among the members of an enum."""
    return [choice.value for choice in choices]


def whole_number_from(minimum: int) -> Callable[[str], int]:
    """Return the type of a flag that takes a whole number from `minimum` up, such as a seed."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {minimum} up")
        return int(text)

    return parse
