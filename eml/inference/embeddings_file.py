"""Embeddings files, written by eml or another program: .npz, .npy or .parquet, and the images that they belong to.

.npz: `embeddings` (N, D), and `label`, `file_name` and any other arrays of N values, which become columns.
.npy: (N, D), of the rows of a table in their order.
.parquet: a column `embedding` of lists, or columns embedding_0, embedding_1, …; all others as in .npz.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eml.dataset.columns import FLAGS, has_query_gallery, parse_columns, query_or_gallery_rows
from eml.dataset.problems import SHOWN, RowProblems, and_more, path_problems
from eml.dataset.sidecar import usable_root
from eml.dataset.table import Table
from eml.errors import DataError, Problem
from eml.files import whole_file
from eml.inference.array_files import SUFFIXES, Array, array_error, read_arrays, write_texts

WRITTEN = ("embeddings", "file_name", "label")


def is_embeddings_file(name: str) -> bool:
    """Return whether a name is that of an embeddings file, by its suffix."""
    return Path(name).suffix in SUFFIXES


def read_embeddings(path: Path, table: Table | None = None) -> tuple[Table, Tensor]:
    """Return the images of an embeddings file and their embeddings, (N, D) float32 in the order of the images.

    Args:
        path: The file.
        table: The images to read embeddings of; from a table with queries and a gallery, its queries and gallery. A
            file with file names may hold more images. A file without needs a row for each row of the table, in order.
            None reads all images of the file, which then needs labels.

    Raises:
        DataError: The file cannot be read or does not fit the table.
    """
    embeddings, columns = read_arrays(path)
    if embeddings.ndim != 2 or embeddings.dtype.kind not in "iuf" or not embeddings.size:
        shape = f"{embeddings.shape} of {embeddings.dtype}"
        raise array_error(f"{path}: embeddings must be (N, D) real numbers, got {shape}")
    for name, column in columns.items():
        if column.shape != (len(embeddings),):
            shape = f"{len(column):,} values" if column.ndim == 1 else f"an array {column.shape}"
            raise array_error(f"{path}: {len(embeddings):,} embeddings and {shape} of {name!r}; one for each is needed")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        values = torch.from_numpy(np.require(embeddings, np.float32, ["C", "W"]))
    if table is not None:
        values = values[_rows_of_images(path, len(values), columns, table)]
        table = replace(table, frame=table.frame[query_or_gallery_rows(table.frame)].reset_index(drop=True))
        _refuse_directionless(path, values, table.frame["file_name"])
        return table, values
    if "label" not in columns or _is_blank(columns["label"]):
        raise DataError(
            f"{path}: has no labels, so it is unknown which embeddings are of one class; give the table of their "
            "images as `data`",
            code="missing-labels",
            parameter="data",
        )
    frame = _build_frame(path, columns)
    _refuse_directionless(path, values, frame["file_name"])
    return Table(frame, _root(path), path), values


def _is_blank(column: Array) -> bool:
    """Return whether no value says anything, as in the labels of images without any."""
    return bool((pd.isna(column) | (column.astype(str) == "")).all())


def _root(path: Path) -> Path:
    """Return the folder of the images: as `eml embed` wrote it beside the file, else the file's own."""
    try:
        root, _ = usable_root(path)
    except DataError:  # the file may be from elsewhere; its images are not looked at
        root = None
    return root or path.parent


def _build_frame(path: Path, columns: dict[str, Array]) -> pd.DataFrame:
    """Return the images as the frame of a table, the known columns in their types."""
    empty = pd.isna(columns["label"])
    labels = ["" if is_empty else label for label, is_empty in zip(_texts(columns["label"]), empty, strict=True)]
    frame = pd.DataFrame({"label": labels} | {name: column for name, column in columns.items() if name != "label"})
    if "file_name" in frame:
        frame["file_name"] = _texts(columns["file_name"])
    else:
        frame.insert(1, "file_name", _numbered(len(frame)))
    problems: RowProblems = []
    frame = parse_columns(frame, problems)
    if "file_name" in columns:
        problems += path_problems(frame["file_name"])
    problems += [(row, "label is empty") for row in frame.index[frame["label"] == ""]]
    if problems:
        raise DataError(_at_rows(path, problems), code="invalid-value")
    return frame


def _texts(column: Array) -> list[str]:
    """Return the values as text, not as an array, in which each would take as much memory as the longest."""
    return [str(value) for value in column.tolist()]


def _at_rows(path: Path, problems: RowProblems) -> list[str]:
    lines: list[str] = []
    for row, text in problems[:SHOWN]:
        line = f"{path}: row {row}: {text}" if row >= 0 else f"{path}: {text}"
        lines.append(Problem(line, text.code, text.parameter) if isinstance(text, Problem) else line)
    return lines + and_more(path, len(problems))


def _refuse_directionless(path: Path, embeddings: Tensor, names: "pd.Series[str]") -> None:
    """Raise a DataError for embeddings without a cosine, while the file that they come from is known."""
    finite = embeddings.isfinite().all(dim=1)
    bad = (~finite | (embeddings == 0).all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        raise DataError(
            f"{path}: {len(bad):,} of {len(embeddings):,} embeddings are NaN, infinite or zero, "
            f"first: {names.iloc[bad[0]]}. Leave these images out, or embed them again",
            code="invalid-embeddings",
        )


def has_file_names(frame: pd.DataFrame) -> bool:
    """Return whether the images of an embeddings file have file names; if not, they are called by their row."""
    return frame["file_name"].tolist() != _numbered(len(frame))


def _numbered(count: int) -> list[str]:
    return [f"row {row}" for row in range(count)]


def write_embeddings(path: Path, embeddings: Tensor, frame: pd.DataFrame, **columns: Array) -> None:
    """Write an .npz with embeddings (N, D), file_name, label, and is_query and is_gallery if the frame has them.

    Args:
        path: The file.
        embeddings: (N, D).
        frame: The N rows of the images.
        columns: Further columns, (N,).

    Raises:
        OutputError: The file cannot be written.
    """
    arrays: dict[str, Any] = {
        "embeddings": embeddings.numpy(),
        **(_flags(frame) if has_query_gallery(frame) else {}),  # else the file would be read with another protocol
        **columns,
    }
    with whole_file(path) as temporary:
        write_npz(temporary, arrays, {name: frame[name].tolist() for name in ("file_name", "label")})


def write_npz(path: Path, arrays: Mapping[str, Array], texts: Mapping[str, Sequence[str]]) -> None:
    """Write an .npz in place, of arrays and of columns of texts. The same content gives the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in texts.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                write_texts(member, column)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def is_written(path: Path) -> bool:
    """Return whether an .npz has the arrays that `write_embeddings` writes, and no others."""
    try:
        with zipfile.ZipFile(path) as file:
            arrays = {name.removesuffix(".npy") for name in file.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return set(WRITTEN) <= arrays <= {*WRITTEN, *FLAGS, "fold"}


def _flags(frame: pd.DataFrame) -> dict[str, Array]:
    return {name: frame[name].fillna(False).to_numpy(bool) for name in FLAGS}


def _rows_of_images(path: Path, count: int, columns: dict[str, Array], table: Table) -> Tensor:
    """Return the row of the file for each image of the table that is a query or in the gallery."""
    used = query_or_gallery_rows(table.frame)
    if "file_name" not in columns:
        if count != len(table.frame):
            raise DataError(
                f"{path}: {count:,} embeddings without file names, and {table.name} has {len(table.frame):,} rows; "
                "they must be the same rows in the same order",
                code="different-images",
            )
        return torch.from_numpy(np.flatnonzero(used))
    names = pd.Index(_texts(columns["file_name"]))
    if names.has_duplicates:
        problem = f"{path}: file_name {names[names.duplicated()][0]!r} is there more than once"
        raise DataError(problem, code="repeated-image")
    required = table.frame["file_name"][used]
    rows = names.get_indexer(pd.Index(required))
    missing = required[rows < 0].tolist()
    if missing:
        raise DataError(
            f"{path}: has no embedding for {len(missing):,} of {len(rows):,} images of {table.name}, "
            f"first: {missing[0]}",
            code="different-images",
        )
    return torch.from_numpy(rows)
