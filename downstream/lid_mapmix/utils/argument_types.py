"""Types of command-line arguments that several commands share; nothing here imports more than argparse."""

import argparse


def whole_number(text: str, minimum: int = 0) -> int:
    """Read a whole number that is not below `minimum`, such as a seed.

    Raises
    ------
    argparse.ArgumentTypeError : it is something else.
    """
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {minimum} up")
    return int(text)
