"""Types of flags that several commands share; nothing here imports more than argparse."""

import argparse
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any


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


def add_deprecated(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Accept `old` as a hidden spelling of the flag `new`, which takes one number; using it prints one line."""

    class _Renamed(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
            sys.stderr.write(f"{parser.prog}: {old} is deprecated; use {new}\n")
            setattr(namespace, self.dest, values)

    parser.add_argument(
        old,
        dest=new.removeprefix("--").replace("-", "_"),
        action=_Renamed,
        type=float,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
