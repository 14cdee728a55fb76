"""Text from files on a terminal: one line, in which nothing moves the cursor or reorders what is shown."""

import codecs
import io
import logging
import re
import sys

# What a terminal interprets, and what reverses the order of letters; JSON escapes the other controls itself.
_BEYOND_ASCII = r"\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROLS = re.compile(rf"[\x00-\x1f{_BEYOND_ASCII}]")
_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")


def one_line(text: str) -> str:
    r"""Return text as one printable line; control characters and invalid bytes of file names are escaped (``\n``)."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text.encode("utf-8", "backslashreplace").decode())


def printable_json(text: str) -> str:
    r"""Return the same JSON with control characters escaped (``\u009b``)."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_unencodable_output() -> None:
    """Let standard output escape what its encoding lacks, and keep the bytes of file names, rather than fail."""
    codecs.register_error("lid_mapmix.escape", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="lid_mapmix.escape")


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


class _Formatter(logging.Formatter):
    """Formats each message as one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        return one_line(record.message)


def log_to_terminal(level: int) -> None:
    """Print log messages of at least this level on standard error, unless logging is configured already."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level, handlers=[handler])
