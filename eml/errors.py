"""The exceptions: an EmlError is a problem that the user can solve, any other exception is a bug."""

import traceback
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


class Problem(str):
    """One line that says where, what was found, what is allowed and what to do.

    The text names parameters of functions in backquotes, `overwrite` or `by="ratio"`. The command line replaces them
    by its options, `--overwrite` and `--by ratio`.
    """

    code: str
    """The kind of the problem, such as `file-exists`; it does not change between versions."""
    parameter: str | None
    """The parameter or dotted config key that causes the problem, if there is a single one."""

    def __new__(cls, text: str, code: str = "invalid", parameter: str | None = None) -> "Problem":
        """Return the text with its code and parameter."""
        problem = super().__new__(cls, text)
        problem.code, problem.parameter = code, parameter
        return problem


class EmlError(Exception):
    """One or more problems that the user can solve. The command line prints them without a traceback and exits with 2.

    Args:
        problems: Lines of text. A line that is a Problem keeps its code and parameter.
        code: Code of the lines that are plain text.
        parameter: Parameter of the lines that are plain text.
    """

    def __init__(self, problems: str | Iterable[str], *, code: str = "invalid", parameter: str | None = None) -> None:
        lines = [problems] if isinstance(problems, str) else list(problems)
        self.problems = [line if isinstance(line, Problem) else Problem(line, code, parameter) for line in lines]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["EmlError"], tuple[object, ...]]:
        """Keep codes and parameters when the error is sent to another process."""
        return type(self), (self.problems,)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback; IPython calls it."""
        return notebook_lines(self)

    @property
    def code(self) -> str:
        """The code of the first problem."""
        return self.problems[0].code if self.problems else "invalid"

    @property
    def parameter(self) -> str | None:
        """The parameter of the first problem."""
        return self.problems[0].parameter if self.problems else None


def notebook_lines(error: BaseException) -> list[str]:
    """Return the lines of the user's own code that led into eml, and the message: the way inside eml helps nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [number for number, frame in enumerate(frames) if frame.filename.startswith(_PACKAGE)]
    own = [
        frame
        for frame in frames[: min(inside, default=len(frames))]
        if "/IPython/" not in Path(frame.filename).as_posix()
    ]
    return [*(line.rstrip() for line in traceback.format_list(own)), f"{type(error).__name__}: {error}"]


def message_lines(error: BaseException) -> list[str]:
    """Return the lines of an exception's text that say something; the name of its type where there is none."""
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


class ConfigError(EmlError):
    """A config file or an override that cannot be used."""


class DataError(EmlError):
    """A folder, table or image that cannot be used."""


class CheckpointError(EmlError):
    """A checkpoint, weights file or run folder that cannot be used."""


class OutputError(EmlError):
    """A file or folder that cannot be written, or that would overwrite a file of the user."""


class Interrupted(Exception):  # noqa: N818 - not an error: the user requested it
    """Ctrl-C or SIGTERM, raised after everything worth keeping is saved; the message says how to continue.

    The exit code is 130.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback; IPython calls it."""
        return notebook_lines(self)
