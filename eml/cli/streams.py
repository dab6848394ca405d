"""The standard streams, closed or full as they may be, and the errors of the system that the user can solve."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from eml.errors import OutputError
from eml.storage.remote_path import is_url

_OF_THE_SYSTEM = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.EBADF, errno.ENXIO, errno.ENODEV),
}

AUTOMATIC = ("CI", "GITHUB_ACTIONS", "WORLD_SIZE")
"""Variables that say that no person started this process: a service that builds and tests, or a launcher."""

NO_MEMORY = (
    "the memory does not suffice. Close other programs, give smaller settings (such as the batch or image size), or "
    "take a machine or device with more memory"
)


def open_closed_streams() -> None:
    """Put something in the place of closed streams, which would otherwise be the number of the next file opened.

    Writing to a closed stdout still fails; to a closed stderr it does nothing.
    """
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a label in letters that the terminal's encoding lacks


@contextmanager
def stdout_may_close() -> Iterator[None]:
    """Go on where the reader of stdout is gone, such as `head`; raise OutputError where it cannot be written to."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        if error.filename is not None:  # of another file
            raise
        drop_stdout()
        raise OutputError(f"stdout: cannot be written: {error.strerror or error}", code="not-writable") from error


def is_interactive() -> bool:
    """Return whether a person can be asked: all streams are a terminal, and no service or launcher started this."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    automatic = [os.environ.get(name, "").lower() not in ("", "0", "false") for name in AUTOMATIC]
    return not any(automatic) and all(stream is not None and stream.isatty() for stream in streams)


def drop_stdout() -> None:
    """Let what is written to stdout from now on go nowhere, else Python complains when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def system_problem(error: OSError) -> str | None:
    """Return the line for an error of the system (a full disk, a name too long, no permission), None for one of eml.

    What goes wrong at an address is no fault of eml either, whatever its kind.
    """
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    if error.errno not in _OF_THE_SYSTEM and not (is_url(name) and error.strerror):
        return None
    return f"{name}: cannot be used: {error.strerror}" if name else f"output cannot be written: {error.strerror}"


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the system or a device had no memory left, as Python, numpy, pyarrow or torch say it."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)
