"""A command whose stdout is a terminal, and what it shows there."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading

import pytest

from eml.cli.app import main

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Codes of a terminal: colours, bold, the cursor's place."""


def shown_on_terminal(arguments: list[str], columns: int = 80, *, codes: bool = False) -> list[str]:
    """Return the lines that a command shows on a terminal of so many columns, with their codes if `codes`."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(master, 65536):
                parts.append(part)
        except OSError:  # how Linux says that the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch, open(slave, "w", encoding="utf-8") as stdout:  # noqa: PTH123
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("LINES", "24")
        patch.setattr(sys, "stdout", stdout)
        assert main(arguments) == 0
    reader.join()
    os.close(master)
    text = b"".join(parts).decode().replace("\r\n", "\n")
    return (text if codes else CODES.sub("", text)).splitlines()
