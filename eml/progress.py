"""The callbacks through which long work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(description, total) → context manager → function that receives the number of newly finished items."""

Report = Callable[[str], None]
"""A function that receives a line of text."""
