"""Embeddings that lie in a file, with the pictures that they are of."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError

OUT_OF_FOLD = "out_of_fold.npz"
NEEDED = ("embeddings", "file_name", "label")


@dataclass(frozen=True)
class EmbeddedPictures:
    """embeddings: (N, D) float32. file_names, labels: (N,) text.

    spaces: (N,) number of the network that made each embedding, None where one made all. root: the folder that the file
    names start from, None where the file does not say.
    """

    source: Path
    embeddings: Tensor
    file_names: NDArray[np.str_]
    labels: NDArray[np.str_]
    spaces: NDArray[np.int64] | None
    root: Path | None


def read_embeddings(source: Path) -> EmbeddedPictures:
    """Reads an .npz, or the out_of_fold.npz of a folder that `eml train --fold all` made.

    It holds `embeddings` (N, D), `file_name` (N,) and `label` (N,); optionally `fold` (N,), whose every number is a
    network of its own, and `root`. Raises DataError with all problems.
    """
    path = source / OUT_OF_FOLD if source.is_dir() else source
    if not path.is_file():
        told = f"{source}: holds no {OUT_OF_FOLD}" if source.is_dir() else f"{source}: no such file or folder"
        raise DataError(f"{told}. eml train CONFIG --fold all makes one; or give an .npz with {', '.join(NEEDED)}")
    arrays = _arrays(path)
    if missing := [name for name in NEEDED if name not in arrays]:
        found = ", ".join(sorted(arrays)) or "none"
        raise DataError(f"{path}: no array {' or '.join(map(repr, missing))}; arrays found: {found}")
    _check(path, arrays)
    return EmbeddedPictures(
        source=path,
        embeddings=torch.from_numpy(arrays["embeddings"].astype(np.float32)),
        file_names=arrays["file_name"].astype(str),
        labels=arrays["label"].astype(str),
        spaces=arrays["fold"].astype(np.int64) if "fold" in arrays else None,
        root=Path(str(arrays["root"])) if "root" in arrays else None,
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: is a single array; an .npz with {', '.join(NEEDED)} is needed")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as an .npz: {error}") from error


def _check(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    problems, number = [], len(np.atleast_1d(arrays["file_name"]))
    if arrays["embeddings"].ndim != 2 or arrays["embeddings"].dtype.kind != "f":
        shape, kind = arrays["embeddings"].shape, arrays["embeddings"].dtype
        problems.append(f"{path}: embeddings must be (N, D) floating-point numbers, got {shape} of {kind}")
    for name in ("embeddings", "file_name", "label", "fold"):
        if name in arrays and name != "embeddings" and arrays[name].ndim != 1:
            problems.append(f"{path}: {name} must be (N,), got {arrays[name].shape}")
        elif name in arrays and len(arrays[name]) != number:
            problems.append(f"{path}: {name} has {len(arrays[name]):,} rows and file_name has {number:,}")
    if "fold" in arrays and arrays["fold"].dtype.kind not in "iu":
        problems.append(f"{path}: fold must be whole numbers, got {arrays['fold'].dtype}")
    if not problems and number == 0:
        problems.append(f"{path}: has no rows")
    if problems:
        raise DataError(problems)
