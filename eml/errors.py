"""The one exception tree: what a user can mend is an EmlError, everything else is a bug."""

from collections.abc import Iterable


class EmlError(Exception):
    """One or more problems the user can mend; the command line prints them without a traceback and exits with 2.

    Each problem is one line that says where, what was found, what is allowed and what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(EmlError):
    """A config file or an override that cannot be used."""


class DataError(EmlError):
    """A folder, table or image that cannot be used."""


class CheckpointError(EmlError):
    """A checkpoint, weights file or run folder that cannot be used."""


class OutputError(EmlError):
    """A file or folder that cannot be written, or that would overwrite something of the user's."""


class Interrupted(Exception):  # noqa: N818 - it is no error: the user asked for it
    """Ctrl-C or SIGTERM after everything worth keeping was saved; the message says how to go on. Exit code 130."""
