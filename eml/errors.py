"""The one exception tree: what a user can mend is an EmlError, everything else is a bug."""

from collections.abc import Iterable


class Problem(str):
    """One line that says where, what was found, what is allowed and what to do.

    Parameters of functions stand in it in backquotes, `overwrite` or `by="ratio"`; the command line writes them as its
    options, `--overwrite` and `--by ratio`.
    """

    code: str
    """The kind of the problem, stable from version to version: `file-exists`."""
    parameter: str | None
    """The parameter, or dotted config key, that is to blame, if it is one."""

    def __new__(cls, text: str, code: str = "invalid", parameter: str | None = None) -> "Problem":
        """Return the text with its code and parameter."""
        problem = super().__new__(cls, text)
        problem.code, problem.parameter = code, parameter
        return problem


class EmlError(Exception):
    """One or more problems the user can mend; the command line prints them without a traceback and exits with 2.

    Args:
        problems: Lines of text; those that are a Problem already keep their code and parameter.
        code: Of the lines that are plain text.
        parameter: Of the lines that are plain text.
    """

    def __init__(self, problems: str | Iterable[str], *, code: str = "invalid", parameter: str | None = None) -> None:
        lines = [problems] if isinstance(problems, str) else list(problems)
        self.problems = [line if isinstance(line, Problem) else Problem(line, code, parameter) for line in lines]
        super().__init__("\n".join(self.problems))

    @property
    def code(self) -> str:
        """The code of the first problem."""
        return self.problems[0].code if self.problems else "invalid"

    @property
    def parameter(self) -> str | None:
        """The parameter of the first problem."""
        return self.problems[0].parameter if self.problems else None


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
