"""Text from files as a terminal may show it: nothing in it moves the cursor, changes colours or reverses the line."""

import re

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, delete, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of text
    "\u2028\u2029\ufff9-\ufffb"  # line ends and annotations that no terminal expects
    "\ud800-\udfff]"  # halves of characters, which no encoding can write
)


def printable(text: str) -> str:
    r"""Return the text with control characters written out: `\x1b`, `\u202e`. Tabs and line feeds stay."""
    return _CONTROLS.sub(_written_out, text)


def printable_line(text: str) -> str:
    r"""Return the text in one line, tabs and line feeds written out too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
