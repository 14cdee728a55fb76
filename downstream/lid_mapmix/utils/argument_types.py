"""Types of flags that several commands share; nothing here imports more than argparse."""

import argparse
import math
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


def number_from(minimum: float) -> Callable[[str], float]:
    """Return the type of a flag that takes a finite number, above 0 and at least `minimum`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf or value < minimum:
            allowed = f"of at least {minimum:g}" if minimum else "above 0"
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number {allowed}")
        return value

    return parse
