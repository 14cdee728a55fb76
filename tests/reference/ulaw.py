"""µ-law as in ITU-T G.711, byte by byte."""


def decode(code):
    """Return the sample of a byte, in [-1, 1)."""
    code = ~code & 0xFF
    exponent, mantissa = (code >> 4) & 0x07, code & 0x0F
    magnitude = ((2 * mantissa + 33) << (exponent + 2)) - 132
    return (-magnitude if code & 0x80 else magnitude) / 32768
