"""Arrays in .npy, .npz and .parquet files of any origin: never unpickled, never larger than their file allows."""

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.parquet_files import read_arrow
from eml.errors import DataError
from eml.files import refuse_pipe
from eml.units import MIB

Array = NDArray[Any]
SUFFIXES = (".npz", ".npy", ".parquet")
PREFIX = "embedding_"  # of Parquet columns, before the dimension
MOST_DIMENSIONS = 1_000_000

FEW_BYTES, BYTES_PER_BYTE = 32 * MIB, 20
"""An .npz may unpack to so many bytes, and to so many for each of the file; embeddings hardly shrink in a zip."""

_PART = 4 * MIB  # bytes of texts that are written at once
_NPY, _ZIP = b"\x93NUMPY", b"PK"
_TEXT = "save it as text: numpy.array(values, dtype=str)"


class _Header(NamedTuple):
    """The header of an array in .npy's format, and where its values begin."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    end: int


def read_arrays(path: Path) -> tuple[Array, dict[str, Array]]:
    """Return the embeddings as they are in a file, and the columns beside them by name.

    Raises:
        DataError: There is no such file, or it is damaged, holds pickled objects, or is no file of embeddings.
    """
    readers: dict[str, Callable[[Path], tuple[Array, dict[str, Array]]]] = {".npy": _read_npy, ".npz": _read_npz}
    try:
        refuse_pipe(path)
        embeddings, columns = readers.get(path.suffix, _read_parquet)(path)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file", code="missing-file") from error
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'", code="missing-package"
        ) from error
    except Exception as error:  # numpy, zipfile and pyarrow raise errors of many types on a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise array_error(f"{path}: cannot be read as {path.suffix}: {reason}") from error
    if "labels" in columns and "label" not in columns:
        columns = {"label" if name == "labels" else name: column for name, column in columns.items()}
    return embeddings, {name: _as_column(path, name, column) for name, column in columns.items()}


def write_texts(file: IO[bytes], texts: Sequence[str]) -> None:
    """Write texts as an .npy array, a part at a time: each of its values takes as much room as the longest one."""
    dtype = np.dtype((str, max(map(len, texts), default=1) or 1))
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(texts),)}
    np.lib.format.write_array_header_1_0(file, header)
    step = max(1, _PART // dtype.itemsize)
    for start in range(0, len(texts), step):
        file.write(np.array(texts[start : start + step], dtype).tobytes())


def array_error(text: str) -> DataError:
    """Return the error of a file that is no file of embeddings."""
    return DataError(text, code="not-an-embeddings-file")


def _as_column(path: Path, name: str, column: Array) -> Array:
    """Return a column's values, bytes as text."""
    if column.dtype.kind != "S":
        return column
    try:
        return np.array([value.decode("utf-8") for value in column.reshape(-1).tolist()], str).reshape(column.shape)
    except UnicodeDecodeError as error:
        raise array_error(f"{path}: array {name!r} has bytes that are not UTF-8; {_TEXT}") from error


def _read_npy(path: Path) -> tuple[Array, dict[str, Array]]:
    with path.open("rb") as file:
        _refuse_other_kind(path, file.read(len(_NPY)))
        file.seek(0)
        array = _read_array(path, "the array", file, path.stat().st_size)
    return array, {}


def _read_npz(path: Path) -> tuple[Array, dict[str, Array]]:
    with path.open("rb") as file:
        _refuse_other_kind(path, file.read(len(_NPY)))
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        unpacked = sum(member.file_size for member in members)
        if unpacked > FEW_BYTES + BYTES_PER_BYTE * path.stat().st_size:
            raise array_error(
                f"{path}: says to hold {unpacked:,} bytes in {path.stat().st_size:,}, which no embeddings do; if they "
                "are so many zeros, save them with numpy.savez, not savez_compressed"
            )
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                arrays[name] = _read_array(path, f"array {name!r}", file, member.file_size)
    if "embeddings" not in arrays:
        raise array_error(f"{path}: has no array 'embeddings'; it has {', '.join(arrays) or 'none'}")
    return arrays.pop("embeddings"), arrays


def _refuse_other_kind(path: Path, start: bytes) -> None:
    """Raise a DataError where a file begins as one of the other kind does."""
    for suffix, mark in ((".npz", _ZIP), (".npy", _NPY)):
        if start.startswith(mark) and path.suffix != suffix:
            raise array_error(f"{path}: is {suffix} by its content, not {path.suffix}; rename it")


def _read_array(path: Path, name: str, file: IO[bytes], size: int) -> Array:
    """Return the array of an .npy of `size` bytes. Its header decides, before any memory is taken."""
    header = _read_header(file)
    if header.dtype.kind not in "biufcSU":
        raise array_error(f"{path}: {name} holds objects ({header.dtype}), which eml does not unpickle; {_TEXT}")
    needed = math.prod(header.shape) * header.dtype.itemsize
    if needed != size - header.end:
        raise array_error(
            f"{path}: {name} says to be {header.shape} of {header.dtype}, {needed:,} bytes, and has "
            f"{size - header.end:,}: damaged"
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version in ((2, 0), (3, 0)):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of .npy is not known")
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape cannot be {shape}")
    return _Header(shape, dtype, file.tell())


def _read_parquet(path: Path) -> tuple[Array, dict[str, Array]]:
    import pyarrow

    table = read_arrow(path)
    names = [str(name) for name in table.column_names]
    if len(set(names)) < len(names):
        raise array_error(f"{path}: has columns of the same name: {', '.join(sorted(names))[:200]}")
    fixed = _fixed_lists(table)
    if fixed is not None:
        table = table.drop_columns(["embedding"])
    try:
        frame = table.to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from error
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].astype(object)
    if fixed is not None:
        embeddings = fixed
    elif "embedding" in frame:
        embeddings = _stack(path, frame.pop("embedding"))
    else:
        names = _dimension_columns(path, names)
        if odd := [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]:
            raise array_error(f"{path}: {odd[0]} holds {frame[odd[0]].dtype}, not numbers")
        embeddings = frame[names].to_numpy(np.float32)
        frame = frame.drop(columns=names)
    return embeddings, {str(name): frame[name].to_numpy() for name in frame}


def _fixed_lists(table: Any) -> Array | None:
    """Return a column `embedding` of lists that are of one length by its type, as `eml embed` writes it, at once."""
    from pyarrow import types

    if "embedding" not in table.column_names:
        return None
    column = table["embedding"].combine_chunks()
    if not types.is_fixed_size_list(column.type) or not types.is_floating(column.type.value_type):
        return None
    values = column.flatten()
    if column.null_count or values.null_count or not len(column):
        return None  # named row by row
    array: Array = values.to_numpy(zero_copy_only=False)
    return array.reshape(len(column), -1)


def _stack(path: Path, lists: "pd.Series[Any]") -> Array:
    """Return a column of lists as (N, D)."""
    if missing := int(lists.isna().sum()):
        raise array_error(f"{path}: {missing:,} of {len(lists):,} rows have no embedding")
    arrays = [np.asarray(values) if np.ndim(values) == 1 else None for values in lists]
    rows = [row for row in arrays if row is not None and row.dtype.kind in "iuf"]
    if len(rows) < len(lists):
        raise array_error(f"{path}: column 'embedding' must hold lists of numbers")
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise array_error(f"{path}: embeddings of {len(lengths)} lengths: {sorted(lengths)[:5]}")
    return np.stack(rows)


def _dimension_columns(path: Path, columns: list[str]) -> list[str]:
    """Return the columns embedding_0, embedding_1, … in the order of the dimensions."""
    numbers = [name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX)]
    dimensions = sorted(int(text) for text in numbers if _is_number(text))
    if not dimensions:
        raise array_error(f"{path}: has no column 'embedding' of lists and no columns embedding_0, embedding_1, …")
    for expected, dimension in enumerate(dimensions):
        if dimension != expected:
            raise array_error(f"{path}: has embedding_{dimension} but no embedding_{expected}")
    return [f"{PREFIX}{dimension}" for dimension in dimensions]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and str(int(text)) == text
