"""Types of flags that several commands share; imports only argparse."""

import argparse
from collections.abc import Callable
from enum import StrEnum


def choices_of(choices: type[StrEnum]) -> list[str]:
    """Return the values of an enum, as the choices of a flag."""
    return [choice.value for choice in choices]


def whole_number_from(minimum: int) -> Callable[[str], int]:
    """Return the type of a flag for an integer of at least `minimum`, such as a seed."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {minimum}, found {text!r}")
        return int(text)

    return parse
