"""Text from files on a terminal: one line, in which nothing moves the cursor or reorders what is shown."""

import re

# What breaks a line, what a terminal interprets, and what reverses the order of letters.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    r"""Return text as one printable line; control characters and invalid bytes of file names are escaped (``\n``)."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text.encode("utf-8", "backslashreplace").decode())
