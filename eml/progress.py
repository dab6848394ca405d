"""The callbacks by which long work reports what it does and how far it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(description, total) → context manager → function called with the number of items newly done."""


Report = Callable[[str], None]
"""A function called with a line of text."""
