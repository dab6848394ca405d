"""Describe what a packed file holds: images by key, labels and other columns, and what cannot be used."""

from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, Protocol


class PackedProblem(NamedTuple):
    """Something in a packed file that cannot be used."""

    key: str
    """The image's, "" for the file itself; bytes that are not UTF-8 as \\xNN."""
    reason: str
    """One of the reasons that `FileProblem` of dataset/scanning lists."""
    detail: str


@dataclass
class Contents:
    """The images of a packed file, in its order."""

    keys: list[str] = field(default_factory=list)
    """Each once: POSIX, without `..`, not absolute."""
    labels: list[str | None] = field(default_factory=list)
    """The label of each key; None where the file says nothing, and "" where it says that there is none."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Other columns of plain values, each as long as `keys`."""
    problems: list[PackedProblem] = field(default_factory=list)


class PackedFile(Protocol):
    """A file with images inside. Several threads may read it at once."""

    def has(self, key: str) -> bool:
        """Return whether there is an image of this name, without a look at it. Raises OSError."""

    def size(self, key: str) -> int | None:
        """Return the bytes of an image, None where only reading would tell. Raises KeyError."""

    def read(self, key: str) -> bytes:
        """Return the bytes of an image. Raises KeyError, and OSError or ValueError where they cannot be read."""

    def open(self, key: str) -> IO[bytes]:
        """Return an image as a file of its own, which reads what is asked for, if the packed file allows it."""

    def contents(self) -> Contents:
        """Return all that the file holds."""


class NotPackedError(Exception):
    """A file that holds no images, such as a Parquet table of their names."""


class UnusableError(Exception):
    """A file that should hold images, and cannot be read.

    Args:
        reason: As of `PackedProblem`.
        detail: A text for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
