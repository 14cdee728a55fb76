"""The parser of every command: one flag per idea, types of flags, examples, ``--debug``, and deprecated spellings.

A deprecated spelling is hidden from ``--help``, works for one version and prints one line that names its replacement.
Nothing here imports more than argparse.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

# The FILE of --json that stands for standard output.
STANDARD_OUTPUT = "-"
DEFAULT_SEED = 0


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


class CommandParser(argparse.ArgumentParser):
    """A parser with ``--debug``; description and examples (``epilog``) keep their line breaks."""

    _moved: argparse.Action | None = None  # the flag that was a positional

    def __init__(self, prog: str, *, description: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add_run(self, meaning: str = "folder of a trained run") -> None:
        """Add the positional RUN."""
        self.add_argument("run", type=Path, metavar="RUN", help=meaning)

    def add_out(
        self,
        meaning: str,
        *,
        metavar: str = "DIR",
        required: bool = False,
        dest: str = "out",
        was_positional: bool = False,
        group: argparse._ArgumentGroup | None = None,
    ) -> None:
        """Add ``--out``; with `was_positional` a positional is accepted instead, as a deprecated spelling."""
        out = (group or self).add_argument(
            "--out", dest=dest, type=Path, required=required, metavar=metavar, help=meaning
        )
        self._moved, self._is_moved_required = (out if was_positional else None), required

    def add_overwrite(self, what: str) -> None:
        """Add ``--overwrite``."""
        self.add_argument("--overwrite", action="store_true", help=f"replace {what}")

    def add_json(self, what: str) -> None:
        """Add ``--json [FILE]``: None if not given, `STANDARD_OUTPUT` without FILE."""
        self.add_argument(
            "--json", nargs="?", const=STANDARD_OUTPUT, metavar="FILE", help=f"{what} as JSON; default: standard output"
        )

    def add_split(self, meaning: str = "default: test", default: str | None = "test") -> None:
        """Add ``--split``."""
        self.add_argument("--split", default=default, metavar="SPLIT", help=meaning)

    def add_seed(self, meaning: str, default: int | None = DEFAULT_SEED) -> None:
        """Add ``--seed``."""
        shown = "" if default is None else f"; default: {default}"
        self.add_argument("--seed", type=whole_number_from(0), default=default, metavar="N", help=f"{meaning}{shown}")

    def add_device(self) -> None:
        """Add ``--device``."""
        self.add_argument("--device", help="cuda, cuda:1 or cpu; default: cuda if available")

    def add_upstream_weights(self) -> None:
        """Add ``-k`` and ``--upstream-from``."""
        self.add_argument("-k", dest="weights", metavar="PATH", help="weights of the upstream, if they have moved")
        self.add_own_upstream()

    def add_own_upstream(self) -> None:
        """Add ``--upstream-from``."""
        self.add_argument("--upstream-from", metavar="FILE.py", help="code of your own upstream, as in training")

    def add_deprecated(self, old: str, new: str) -> None:
        """Accept `old` as a deprecated spelling of the flag `new`, which takes one value."""
        action, warn = self._option_string_actions[new], partial(self.warn_deprecated, old, new)

        class Deprecated(argparse.Action):
            def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
                warn()
                setattr(namespace, self.dest, values)

        hidden = argparse.SUPPRESS
        kind = action.type or str
        self.add_argument(old, dest=action.dest, action=Deprecated, type=kind, default=hidden, help=hidden)

    def warn_deprecated(self, old: str, new: str) -> None:
        """Print that a spelling is deprecated, and its replacement."""
        sys.stderr.write(f"{self.prog}: {old} is deprecated; use {new}\n")

    def _get_formatter(self) -> argparse.HelpFormatter:
        # Usage and help show it as required also while arguments are parsed.
        if self._moved is not None:
            self._moved.required = self._is_moved_required
        return super()._get_formatter()

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; a positional that is left over is the value of a flag that was a positional."""
        if self._moved is None:
            return super().parse_known_args(args, namespace)
        # A missing value is an error only after the positionals that are left over have been seen.
        self._moved.required = False
        options, extra = super().parse_known_args(args, namespace)
        self._moved.required = self._is_moved_required
        has_positional = bool(extra) and not extra[0].startswith("-")
        if getattr(options, self._moved.dest) is None and (has_positional or self._is_moved_required):
            if not has_positional:
                self.error("the following arguments are required: --out")
            setattr(options, self._moved.dest, Path(extra.pop(0)))
            self.warn_deprecated(f"the positional {self._moved.metavar}", f"--out {self._moved.metavar}")
        return options, extra
