"""A command in a terminal that asks, and the answers that a person types."""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Sequence

import pytest

from eml.cli.app import main
from tests.cli.terminal import CODES

PROMPT = ": "


def converse(arguments: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of a command and all that is shown on a terminal of 80 columns.

    answers: What is typed at each prompt, a line; "^C" is Ctrl-C.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    shown: list[str] = []
    rest = list(answers)

    def type_answers() -> None:
        text = ""
        try:
            while part := os.read(master, 65536).decode(errors="replace"):
                shown.append(part)
                text = CODES.sub("", text + part)
                if rest and text.endswith(PROMPT) and not text.endswith("\n"):
                    answer = rest.pop(0)
                    text = ""
                    if answer == "^C":  # a terminal sends the signal to the processes that it controls, not to this
                        time.sleep(0.3)  # `input` drops what is raised while it writes its prompt
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    else:
                        os.write(master, f"{answer}\n".encode())
        except OSError:  # how Linux says that the other end is closed
            pass

    typist = threading.Thread(target=type_answers)
    typist.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CI", raising=False)
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", "80")
        streams = [os.fdopen(os.dup(slave), mode, encoding="utf-8") for mode in ("r", "w", "w")]
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        code = main(arguments)
        for stream in streams:
            stream.close()
    os.close(slave)
    typist.join()
    os.close(master)
    assert not rest, ("".join(shown), rest)
    return code, CODES.sub("", "".join(shown)).replace("\r\n", "\n")
