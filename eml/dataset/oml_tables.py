"""Tables that were not made for eml: those of open-metric-learning are read as ours, others are told what to rename.

open-metric-learning's columns: `path` (absolute, or relative to the root), `label`, `split` (train or validation; the
classes of the validation are not trained on), `is_query` and `is_gallery` (blank where split is train), and perhaps
`category`, `x_1, x_2, y_1, y_2` (which mean what they mean here), `sequence`.
"""

import os
from pathlib import Path

import pandas as pd

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN, FLAGS, REQUIRED, Problems

OML = ("path", "label", "split", "is_query", "is_gallery")

OML_NOTE = (
    "has open-metric-learning's columns: path is read as file_name, split 'validation' as 'test' with fold -2, never "
    "trained on"
)

# Columns that hold in other tables what these hold in ours, likeliest first.
_OTHER_NAMES = {
    "file_name": (
        *("path", "filename", "file", "image", "image_path", "img", "img_path", "filepath", "file_path", "image_name"),
        *("image_file", "file_names", "images", "picture", "photo", "relative_path", "im_path"),
    ),
    "label": (
        *("class", "class_name", "label_name", "labels", "target", "class_id", "label_id", "category", "name"),
        *("individual_id", "identity", "product_id", "item_id", "id"),
    ),
}


def is_oml(frame: pd.DataFrame) -> bool:
    """Whether the header is open-metric-learning's."""
    return set(OML) <= set(frame.columns) and "file_name" not in frame.columns


def from_oml(frame: pd.DataFrame, root: Path, problems: Problems) -> pd.DataFrame:
    """path → file_name, relative to `root`; split validation → test; fold −2 (never trained on) for those rows.

    The other rows get fold −1; a column `fold` that is there stays. What does not fit is added to `problems`.
    """
    frame = frame.rename(columns={"path": "file_name"})
    frame["file_name"] = _under_root(frame["file_name"], root, problems)
    split = frame["split"].astype(str)
    for row in split.index[~split.isin(["train", "validation"])]:
        problems.append((row, f"split must be 'train' or 'validation', got {split[row]!r}"))
    for name in FLAGS:
        given = frame[name].notna() & (frame[name].astype(str) != "") & (split == "train")
        problems += [(row, f"{name} must be blank where split is 'train'") for row in given.index[given]]
    test = split == "validation"
    frame["split"] = split.mask(test, "test")
    if "fold" not in frame.columns:
        frame["fold"] = test.map({True: ALWAYS_TEST, False: ALWAYS_TRAIN})
    return frame


def _under_root(paths: "pd.Series[str]", root: Path, problems: Problems) -> "pd.Series[str]":
    """Absolute paths made relative to the root; those that are not under it are problems."""
    paths = paths.astype(str).where(paths.notna(), "")
    absolute = paths[paths.map(os.path.isabs)]
    if absolute.empty:
        return paths
    there = {os.path.normpath(root.absolute()), os.path.realpath(root)}
    relative = absolute.map(lambda path: _relative(os.path.normpath(path), there))
    outside = relative.index[relative.isna()]
    if len(outside) == len(absolute):
        shared = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120 - texts, not files
        told = f"none of its {len(absolute):,} absolute paths is under {root} (the first: {absolute.iloc[0]!r})"
        problems.append((-1, f"{told}. Give the folder that holds them, such as {shared}, with --root"))
    else:
        problems += [(row, f"path is not under {root}: {paths[row]!r}") for row in outside]
    relative[outside] = [f"outside-{row}" for row in outside]  # each told once, here
    return relative.reindex(paths.index).fillna(paths)


def _relative(path: str, roots: set[str]) -> str | None:
    for root in roots:
        if path.startswith(prefix := root.rstrip(os.sep) + os.sep):
            return path[len(prefix) :].replace(os.sep, "/")
    return None


def missing_columns(columns: list[str]) -> str:
    """What is said of a header without label or file_name: what is there instead, and what to rename."""
    lower = {name.lower().strip(): name for name in columns}
    told = []
    for wanted in (name for name in REQUIRED if name not in columns):
        found = next((lower[other] for other in (wanted, *_OTHER_NAMES[wanted]) if other in lower), None)
        hint = f" (is it {found!r}? Rename that to {wanted!r})" if found is not None else ""
        told.append(f"column '{wanted}' is missing{hint}")
    text = f"{' and '.join(told)}; columns found: {', '.join(columns) or 'none'}"
    mark = next((mark for mark in ";\t|" if len(columns) == 1 and mark in columns[0]), None)
    return f"{text}. Its columns seem to be separated by {mark!r}; separate them by commas" if mark else text
