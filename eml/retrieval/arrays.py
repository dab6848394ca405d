"""Arrays and tensors of what a caller gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.array_types import Booleans as Booleans
from eml.retrieval.array_types import Floats as Floats
from eml.retrieval.array_types import Integers as Integers

Embeddings = Tensor | NDArray[np.floating[Any]]
Labels = NDArray[Any] | Tensor | Sequence[int] | Sequence[str]


def as_embeddings(values: Embeddings, name: str) -> Tensor:
    """Return embeddings (N, D) as a tensor without a gradient, on the device where they are.

    Args:
        values: Tensor or array of real numbers.
        name: What to call them in errors.

    Raises:
        DataError: They are neither, of complex numbers or flags, or no matrix.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        values = torch.from_numpy(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False)))
    if not isinstance(values, Tensor) or values.is_complex() or values.dtype == torch.bool:
        kind = f"{values.dtype}" if isinstance(values, np.ndarray | Tensor) else type(values).__name__
        text = f"{name} embeddings must be a tensor or array of real numbers, got {kind}"
        raise DataError(text, code="wrong-type")
    if values.ndim != 2:
        raise DataError(f"{name} embeddings must be (N, D), got {tuple(values.shape)}", code="wrong-shape")
    return values.detach()


def as_labels(values: Labels, name: str) -> NDArray[Any]:
    """Return labels, groups or positions (N,) as an array of int64, or of text.

    Args:
        values: Array, tensor or list of whole numbers or of text.
        name: What to call them in errors, in the plural.

    Raises:
        DataError: They are something else, or not in one row.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype == object and all(isinstance(value, str) for value in array.ravel()):
        array = array.astype(str)
    if array.ndim != 1:
        raise DataError(f"{name} must be (N,), got {array.shape}", code="wrong-shape")
    if array.dtype.kind == "U" or (not len(array) and array.dtype.kind == "f"):
        return array if len(array) else array.astype(np.int64)
    if array.dtype.kind not in "biu" or (array.dtype.kind == "u" and (array > np.iinfo(np.int64).max).any()):
        text = f"{name} must be whole numbers (int64) or text, got {array.dtype}"
        raise DataError(text, code="wrong-type")
    return array.astype(np.int64)


def as_positions(values: Labels, name: str, count: int) -> Integers:
    """Return positions (N,) of one of `count` images, or −1 for none, as int64.

    Raises:
        DataError: They are no whole numbers from −1 to `count` − 1.
    """
    positions = as_labels(values, name)
    if positions.dtype.kind == "U":
        raise DataError(f"{name} must be whole numbers (int64), got text", code="wrong-type")
    if len(positions) and not (positions.min() >= -1 and positions.max() < count):
        text = f"{name} must be from −1 to {count - 1}, got {positions.min()} to {positions.max()}"
        raise DataError(text, code="out-of-range")
    return positions
