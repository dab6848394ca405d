"""Labels and other plain columns of files of Parquet and Arrow, as Hugging Face's `datasets` writes them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.images.packed.contents import Contents, NotPackedError, PackedProblem, UnusableError
from eml.units import MIB

IMAGE_NAMES = ("image", "img", "jpg", "png", "webp", "image_bytes")
"""Names of a column of bytes that holds images, where nothing says which one does."""
LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls")
MOST_COLUMNS = 200
LONGEST_COLUMN = 256 * MIB
"""Bytes of the names of a file's images, and of each other column; a longer one is left out."""
LONGEST_COLUMNS = 1024 * MIB
"""Bytes of all columns of a file that are read, but for the images."""
_TEXTS = ("string", "large_string", "string_view")


def features_of(schema: Any) -> dict[str, Any]:
    """Return what `datasets` wrote of the columns' kinds into a file's metadata; nothing where it did not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features if isinstance(features, dict) else {}
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


def image_column(schema: Any, features: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the name of the column of images, and whether it is a structure of `bytes` and `path`.

    Raises:
        NotPackedError: There is none.
    """
    fitting = {field.name: _is_structure(field.type) for field in schema if _holds_bytes(field.type)}
    said = [name for name in fitting if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"]
    structures = [name for name, is_structure in fitting.items() if is_structure]
    named = [name for name in IMAGE_NAMES if name in fitting]
    for names in (said, [name for name in named if name in structures], structures, named):
        if names:
            return names[0], fitting[names[0]]
    raise NotPackedError


def _is_structure(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind))


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and "binary" in str(kind.field("bytes").type)
    return str(kind) in ("binary", "large_binary")


def label_column(schema: Any, features: Mapping[str, Any]) -> str | None:
    """Return the name of the column of labels: the usual one, else the only one that is said to be of classes."""
    plain = [field.name for field in schema if is_plain(field.type)]
    classes = [name for name in plain if names_of(features, name)]
    usual = [name for name in LABEL_NAMES if name in plain]
    return usual[0] if usual else classes[0] if len(classes) == 1 else None


def names_of(features: Mapping[str, Any], name: str) -> list[str] | None:
    """Return the names of a column's classes, None for a column that is not of classes."""
    feature = features.get(name)
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return [str(text) for text in names] if isinstance(names, list) else None


def plain_columns(schema: Any) -> list[str]:
    """Return the columns of texts, numbers and flags."""
    return [field.name for field in schema if is_plain(field.type)][:MOST_COLUMNS]


def is_plain(kind: Any) -> bool:
    """Return whether a column's values are texts, numbers or flags."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(str(kind) in _TEXTS or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


class PlainValues:
    """The values of a file's columns, which are taken part by part and bounded before they become objects.

    A text that is in many rows counts in each of them, as it will be in a table: a file says in few bytes that all rows
    have one of megabytes.

    Args:
        names: Of the columns.
        label: That of the labels, which is not left out.
        longest: Bytes of a column.
        longest_of_all: Bytes of all of them.

    Attributes:
        columns: The values by column, without the columns that are too long.
        problems: One for each of these.
    """

    def __init__(self, names: Sequence[str], label: str | None, longest: int, longest_of_all: int) -> None:
        self._label, self._longest, self._left = label, longest, longest_of_all
        self._bytes = dict.fromkeys(names, 0)
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.problems: list[PackedProblem] = []

    def add(self, name: str, part: Any) -> None:
        """Take an array of a column, unless the column is left out.

        Raises:
            UnusableError: The column of labels is too long.
        """
        if name not in self.columns:
            return
        own = 16 * len(part) if str(part.type) == "string_view" else part.nbytes  # views of parts may share all texts
        size = max(own, _text_bytes(part))
        self._bytes[name] += size
        if self._bytes[name] <= self._longest and size <= self._left:
            self._left -= size
            self.columns[name] += values(part)
            return
        text = f"its column {name!r} holds more than {min(self._longest, self._left):,} bytes, each row by itself"
        if name == self._label:
            raise UnusableError("too_large", text)
        self._left += self._bytes[name] - size
        del self.columns[name]
        self.problems.append(PackedProblem("", "too_large", f"{text}, so it is left out"))


def _text_bytes(part: Any) -> int:
    """Return the bytes of the texts of an array, of each in all rows that have it; 0 for numbers."""
    from pyarrow import types

    if not types.is_dictionary(part.type):
        return int(_lengths(part).sum())
    lengths = _lengths(part.dictionary)
    places = part.indices.drop_null().to_numpy(zero_copy_only=False)
    rows = int(lengths.take(places, mode="clip").sum()) if len(lengths) else 0
    return max(rows, int(lengths.sum()))


def _lengths(texts: Any) -> NDArray[np.int64]:
    """Return (N,) bytes of each text, 0 for what is none."""
    import pyarrow.compute

    kind = str(texts.type)
    if kind not in _TEXTS or not len(texts):
        return np.zeros(len(texts), np.int64)
    if kind == "string_view":  # a view begins with the bytes of its text, and is 16 long
        views = np.frombuffer(texts.buffers()[1], "<i4")[4 * texts.offset :: 4][: len(texts)]
        return np.maximum(views.astype(np.int64), 0)
    lengths = pyarrow.compute.binary_length(texts).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False)).astype(np.int64)


def values(column: Any) -> list[Any]:
    """Return the values of a column or a part of one. A text that is in many rows stays one."""
    from pyarrow import types

    listed: list[Any] = []
    for chunk in getattr(column, "chunks", [column]):
        if types.is_dictionary(chunk.type):
            texts = chunk.dictionary.to_pylist()
            listed += [None if place is None else texts[place] for place in chunk.indices.to_pylist()]
        else:
            listed += chunk.to_pylist()
    return listed


def with_names(contents: Contents, label: str | None, features: Mapping[str, Any]) -> Contents:
    """Return contents with the labels out of the column `label`, and the names of classes in place of their numbers."""
    columns = {name: _named(column, names_of(features, name)) for name, column in contents.columns.items()}
    own = columns.pop(label, None) if label is not None else None
    contents.columns = columns
    contents.labels = [None] * len(contents.keys) if own is None else ["" if v is None else str(v) for v in own]
    return contents


def _named(column: list[Any], names: list[str] | None) -> list[Any]:
    if names is None:
        return column
    return [None if value is None or not 0 <= value < len(names) else names[value] for value in column]


def require_pyarrow() -> None:
    """Raise UnusableError where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        text = "needs the package pyarrow: pip install 'easy-metric-learning[parquet]'"
        raise UnusableError("unsupported", text) from None
