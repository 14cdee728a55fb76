"""Types of flags that several commands share: text in, a value or an error for argparse out."""

import argparse
from collections.abc import Callable
from enum import StrEnum


def choices_of(choices: type[StrEnum]) -> list[str]:
    """Return what a flag takes that chooses among the members of an enum."""
    return [choice.value for choice in choices]


def whole_number_from(least: int) -> Callable[[str], int]:
    """Return the type of a flag that takes a whole number from `least` up."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} up")
        return number

    return parse
