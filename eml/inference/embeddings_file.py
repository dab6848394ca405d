"""Embeddings in a file, made by eml or elsewhere: .npz, .npy or .parquet, and the images that they are of.

.npz: `embeddings` (N, D), and `label`, `file_name` and any other arrays of N values, which become columns.
.npy: (N, D), of the rows of a table in their order.
.parquet: a column `embedding` of lists, or columns embedding_0, embedding_1, …; all others as in .npz.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.columns import FLAGS, has_query_gallery, parse_columns, query_or_gallery_rows
from eml.dataset.problems import SHOWN, RowProblems, and_more
from eml.dataset.table import Table
from eml.errors import DataError
from eml.files import whole_file

Array = NDArray[Any]
SUFFIXES = (".npz", ".npy", ".parquet")


def is_embeddings_file(name: str) -> bool:
    """By its suffix."""
    return Path(name).suffix in SUFFIXES


def read_embeddings(path: Path, table: Table | None = None) -> tuple[Table, Tensor]:
    """The images, and their (N, D) float32 embeddings in the table's order.

    table: which images to take; of one with queries and a gallery these. A file with file names may hold more than
    these; one without must have a row for each row of the table, in order. None: all that the file holds, which must
    then have labels.
    Raises DataError for what cannot be read or does not fit the table.
    """
    embeddings, columns = _read(path)
    if embeddings.ndim != 2 or not np.issubdtype(embeddings.dtype, np.number) or not embeddings.size:
        raise DataError(f"{path}: embeddings must be (N, D) numbers, got {embeddings.shape} of {embeddings.dtype}")
    for name, column in columns.items():
        if column.shape != (len(embeddings),):
            shape = f"{len(column):,} values" if column.ndim == 1 else f"an array {column.shape}"
            raise DataError(f"{path}: {len(embeddings):,} embeddings and {shape} of {name!r}; one for each is needed")
    values = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    if table is not None:
        values = values[_rows(path, len(values), columns, table)]
        table = replace(table, frame=table.frame[query_or_gallery_rows(table.frame)].reset_index(drop=True))
        _refuse_directionless(path, values, table.frame["file_name"])
        return table, values
    if "label" not in columns:
        raise DataError(
            f"{path}: has no labels, so it is not known what is alike; say which images they are of: --data TABLE"
        )
    frame = _frame(path, columns)
    _refuse_directionless(path, values, frame["file_name"])
    return Table(frame, path.parent, path), values


def _frame(path: Path, columns: dict[str, Array]) -> pd.DataFrame:
    """The images, with the known columns in their types, as of any table."""
    empty = pd.isna(columns["label"])
    labels = np.where(empty, "", columns["label"].astype(str))
    frame = pd.DataFrame({"label": labels} | {name: each for name, each in columns.items() if name != "label"})
    if "file_name" in frame:
        frame["file_name"] = columns["file_name"].astype(str)
    else:
        frame.insert(1, "file_name", _numbered(len(frame)))
    problems: RowProblems = []
    frame = parse_columns(frame, problems)
    problems += [(row, "label is empty") for row in frame.index[frame["label"] == ""]]
    if problems:
        told = [f"{path}: row {row}: {text}" if row >= 0 else f"{path}: {text}" for row, text in problems[:SHOWN]]
        raise DataError(told + and_more(path, len(problems)))
    return frame


def _refuse_directionless(path: Path, embeddings: Tensor, names: "pd.Series[str]") -> None:
    """DataError for embeddings that a cosine cannot be taken of, before there is no telling where they came from."""
    finite = embeddings.isfinite().all(dim=1)
    bad = (~finite | (embeddings == 0).all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        raise DataError(
            f"{path}: {len(bad):,} of {len(embeddings):,} embeddings are NaN, infinite or zero, "
            f"first: {names.iloc[bad[0]]}. Leave these images out, or embed them again"
        )


def has_file_names(frame: pd.DataFrame) -> bool:
    """Whether the file that it was read from had any; else rows are called by their number."""
    return frame["file_name"].tolist() != _numbered(len(frame))


def _numbered(count: int) -> list[str]:
    return [f"row {row}" for row in range(count)]


def write_embeddings(path: Path, embeddings: Tensor, frame: pd.DataFrame, **columns: Array) -> None:
    """An .npz with embeddings (N, D), file_name, label and what is query and gallery of the frame's rows.

    columns: further ones, (N,).

    Raises OutputError.
    """
    arrays: dict[str, Any] = {
        "embeddings": embeddings.numpy(),
        "file_name": frame["file_name"].to_numpy(str),
        "label": frame["label"].to_numpy(str),
        **(_flags(frame) if has_query_gallery(frame) else {}),  # else another protocol is read
        **columns,
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _flags(frame: pd.DataFrame) -> dict[str, Array]:
    return {name: frame[name].fillna(False).to_numpy(bool) for name in FLAGS}


def _read(path: Path) -> tuple[Array, dict[str, Array]]:
    try:
        match path.suffix:
            case ".npy":
                return np.load(path, allow_pickle=False), {}
            case ".npz":
                with np.load(path, allow_pickle=False) as file:
                    columns = {name: file[name] for name in file.files}
                if "embeddings" not in columns:
                    raise DataError(f"{path}: has no array 'embeddings'; it has {', '.join(columns) or 'none'}")
                return columns.pop("embeddings"), columns
            case _:
                return _of_parquet(path)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'") from error
    except (OSError, ValueError, EOFError) as error:
        reason = "it is no array of numbers" if "pickle" in str(error) else str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as {path.suffix}: {reason}") from error


def _of_parquet(path: Path) -> tuple[Array, dict[str, Array]]:
    frame = pd.read_parquet(path)
    if "embedding" in frame:
        rows = frame.pop("embedding")
        if rows.isna().any():
            raise DataError(f"{path}: {int(rows.isna().sum()):,} of {len(rows):,} rows have no embedding")
        lengths = {len(row) for row in rows}
        if len(lengths) != 1:
            raise DataError(f"{path}: embeddings of {len(lengths)} lengths: {sorted(lengths)[:5]}")
        embeddings = np.stack(rows.tolist())
    else:
        places = {
            int(name[10:]): name for name in map(str, frame) if name[:10] == "embedding_" and name[10:].isdecimal()
        }
        if not places:
            raise DataError(f"{path}: has no column 'embedding' of lists and no columns embedding_0, embedding_1, …")
        if missing := sorted(set(range(max(places))) - set(places)):
            raise DataError(f"{path}: has embedding_{max(places)} but no embedding_{missing[0]}")
        names = [places[place] for place in sorted(places)]
        embeddings = frame[names].to_numpy(np.float32)
        frame = frame.drop(columns=names)
    return embeddings, {str(name): frame[name].to_numpy() for name in frame}


def _rows(path: Path, count: int, columns: dict[str, Array], table: Table) -> Tensor:
    """The row of the file for each image of the table that is query or gallery."""
    asked = query_or_gallery_rows(table.frame)
    if "file_name" not in columns:
        if count != len(table.frame):
            raise DataError(
                f"{path}: {count:,} embeddings without file names, and {table.name} has {len(table.frame):,} rows; "
                "they must be the same rows in the same order"
            )
        return torch.from_numpy(np.flatnonzero(asked))
    names = pd.Index(columns["file_name"].astype(str))
    if names.has_duplicates:
        raise DataError(f"{path}: file_name {names[names.duplicated()][0]!r} is there more than once")
    wanted = table.frame["file_name"][asked]
    found = names.get_indexer(pd.Index(wanted))
    missing = wanted[found < 0].tolist()
    if missing:
        raise DataError(
            f"{path}: has no embedding for {len(missing):,} of {len(found):,} images of {table.name}, "
            f"first: {missing[0]}"
        )
    return torch.from_numpy(found)
