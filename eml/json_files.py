"""Read JSON that anybody may have written: bounded in size and depth, finite, UTF-8, of the shape that is expected."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eml.files import refuse_pipe
from eml.units import MIB

MOST_BYTES = 32 * MIB
"""Python needs up to 25 times a file's bytes for what is in it."""


MOST_BYTES_OF_LISTS = 512 * MIB
"""The limit of files that have a line for each class of a dataset."""


def read_json(path: Path, kind: Any = Any, most_bytes: int = MOST_BYTES) -> Any:
    """Return what the JSON in a file says.

    Args:
        path: The file.
        kind: The type of the value, as a type hint; of a dataclass, an object of it. Numbers are no text.
        most_bytes: Larger files are not read.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON or of another shape; with one line that says why.
    """
    refuse_pipe(path)
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes // MIB:,} MiB")
    return parse_json(data.decode("utf-8"), kind)


def read_json_lines(path: Path, kind: Any, *, cut: bool = False) -> list[Any]:
    """Return the values of a file with a JSON value on each line.

    Args:
        path: The file.
        kind: The type of each value.
        cut: Leave out a last line without an end, which a killed process has not finished.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not JSON or of another shape; with its number.
    """
    refuse_pipe(path)
    lines = path.read_bytes().decode("utf-8").split("\n")
    if cut or not lines[-1]:
        lines = lines[:-1]
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(parse_json(line, kind))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return values


def is_json_with(path: Path, keys: set[str]) -> bool:
    """Return whether the file is a JSON object with these keys, as our commands write it."""
    try:
        value = read_json(path, most_bytes=MOST_BYTES_OF_LISTS)
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and keys <= set(value)


def parse_json(text: str, kind: Any = Any) -> Any:
    """Return what JSON says. Raises ValueError with one line that says why it cannot be used."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate can be written nowhere
        return value if kind is Any else _adapter(kind).validate_python(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a character (a lone surrogate)") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {message}" if place else message) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    if isinstance(kind, type) and hasattr(kind, "__pydantic_validator__"):
        return TypeAdapter(kind)  # a section, which has its own rules
    return TypeAdapter(kind, config=None if hasattr(kind, "__dataclass_fields__") else ConfigDict(strict=True))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large a number")
    return value
