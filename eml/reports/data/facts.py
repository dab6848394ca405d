"""What a table of images says of itself, without a look at an image: plain numbers, as JSON takes them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from eml.dataset.scanning.scan import errors_path
from eml.dataset.sidecar import read_sidecar, sources, written_after, written_by_eml
from eml.dataset.table import SUFFIXES, Table, read_columns
from eml.errors import DataError
from eml.reports.bins import histogram
from eml.reports.data.near import Near

SMALL = 32  # pixels of the shorter side: below it little is left to tell images by
LISTED = 10  # classes, sizes and names shown of a longer list

# Where the way of the data leaves its tables, and the command that makes each.
TABLES = {
    "dataset_info": "scan",
    "dataset_info_filtered": "filter",
    "dataset_train": "split",
    "dataset_test": "split",
    "folds": "kfold",
}
RATIOS = {  # width : height
    **{"1:4 or taller": 1 / 4, "1:3": 1 / 3, "1:2": 1 / 2, "9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "1:1": 1.0},
    **{"4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9, "2:1": 2.0, "3:1": 3.0, "4:1 or wider": 4.0},
}
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # the names that phones and Windows give them are right as well


def class_facts(labels: "pd.Series[str]") -> dict[str, Any]:
    """Class sizes: range, histogram, how uneven they are, the largest and smallest classes."""
    sizes = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    numbers, total = sizes.to_numpy(), len(labels)
    running = np.cumsum(numbers)
    tenth = math.ceil(len(sizes) / 10)
    named = [{"label": str(label), "images": int(size)} for label, size in sizes.items()]
    return {
        **_range(sizes),
        "of_one": int((numbers == 1).sum()),
        "below_five": int((numbers < 5).sum()),
        "histogram": _bins(numbers),
        "largest_tenth": {"classes": tenth, "share": float(running[tenth - 1] / total)},
        "for_half": int(np.searchsorted(running, total / 2) + 1),
        "cumulative": _cumulative(running),
        "largest": named[:LISTED],
        "smallest": named[LISTED:][-LISTED:],
    }


def _cumulative(running: Any, most: int = 120) -> list[list[float]]:
    """[share of the classes, largest first; share of the images in them], from 0 to 1."""
    at = np.unique(np.linspace(0, len(running) - 1, min(most, len(running))).round().astype(int))
    points = [[round(float(i + 1) / len(running), 4), round(float(running[i] / running[-1]), 4)] for i in at]
    return [[0.0, 0.0], *points]


def size_facts(frame: pd.DataFrame) -> dict[str, Any] | None:
    """Sides (pixels) and aspect ratios; None where the table has no sizes."""
    if not {"width", "height"} <= set(frame.columns):
        return None
    width, height = frame["width"], frame["height"]
    short, long = frame[["width", "height"]].min(axis=1), frame[["width", "height"]].max(axis=1)
    logs = np.log(np.maximum(width.to_numpy(), 1) / np.maximum(height.to_numpy(), 1))
    nearest = np.abs(logs[:, None] - np.log(list(RATIOS.values()))[None, :]).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(RATIOS))
    common = frame.groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")
    return {
        "short_side": _range(short) | {"histogram": _bins(short.to_numpy())},
        "long_side": _range(long) | {"histogram": _bins(long.to_numpy())},
        "below_32": int((short < SMALL).sum()),
        "ratios": {name: int(count) for name, count in zip(RATIOS, counts, strict=True) if count},
        "distinct": len(common),
        "common": [
            {"width": int(size[0]), "height": int(size[1]), "images": int(count)}  # type: ignore[index]
            for size, count in common.head(LISTED).items()
        ],
    }


def format_facts(frame: pd.DataFrame) -> dict[str, Any] | None:
    """Formats, modes, and files whose name says another format; None where the table does not have the formats."""
    if "format" not in frame.columns:
        return None
    suffix = frame["file_name"].str.extract(r"(\.[^./]+)$", expand=False).str.lower()
    named = suffix.map(Image.registered_extensions()).replace(SAME_FORMAT)
    other = named.notna() & (named != frame["format"].replace(SAME_FORMAT))
    return {
        "formats": _counted(frame["format"]),
        "modes": _counted(frame["mode"]) if "mode" in frame.columns else {},
        "misnamed": int(other.sum()),
        "misnamed_first": sorted(frame["file_name"][other])[:LISTED],
    }


def error_facts(source: Path | None, listed: int) -> dict[str, Any] | None:
    """Files that the scan could not use, by reason; None where no list of them lies beside the table.

    files: at most `listed` of each reason.
    """
    if source is None or not (path := errors_path(source)).is_file():
        return None
    frame = read_columns(path, ["file_name", "reason", "detail"])
    files = {
        str(reason): some[["file_name", "detail"]].head(listed).to_dict("records")
        for reason, some in frame.groupby("reason", sort=True)
    }
    return {"list": str(path), "files": len(frame), "reasons": _counted(frame["reason"]), "first": files}


def table_facts(folder: Path) -> list[dict[str, Any]]:
    """The tables of the way that lie in a folder, in its order: what made them, what is in them, whether they are true.

    state: current; stale (what it was made from has changed since); edited (since eml wrote it); foreign (no sidecar).
    """
    found: dict[Path, dict[str, Any]] = {}
    for stem, command in TABLES.items():
        there = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
        if not there:
            continue
        path = max(there, key=lambda path: path.stat().st_mtime)
        sidecar = read_sidecar(path)
        try:
            labels = read_columns(path, ["label"])["label"]
        except DataError:  # a file of somebody else's that only has the name; whoever reads it is told
            labels = None
        found[path] = {
            "table": path.name,
            "step": command,
            "command": sidecar.command if sidecar else None,
            "created": sidecar.created if sidecar else None,
            "images": None if labels is None else len(labels),
            "classes": None if labels is None else int(labels.nunique()),
            "state": _state(path, [each for each in found if found[each]["step"] != command]),
        }
    return list(found.values())


def _state(path: Path, earlier: list[Path]) -> str:
    if read_sidecar(path) is None:
        return "foreign"
    if not written_by_eml(path):
        return "edited"
    used = {source.resolve() for _, source, _ in sources(path)}
    passed_over = any(each.resolve() not in used and written_after(each, path) for each in earlier)
    return "stale" if passed_over or any(changed for _, _, changed in sources(path)) else "current"


def headline(table: Table) -> dict[str, Any]:
    """images, classes, bytes (None where the table does not have them)."""
    frame = table.frame
    return {
        "images": len(frame),
        "classes": int(frame["label"].nunique()),
        "bytes": int(frame["bytes"].sum()) if "bytes" in frame.columns else None,
    }


def _range(values: "pd.Series[Any]") -> dict[str, float]:
    median = float(values.median())
    whole = int(median) if median.is_integer() else median
    return {"min": int(values.min()), "median": whole, "max": int(values.max())}


def _bins(values: Any) -> list[dict[str, int]]:
    return [{"from": each.low, "to": each.high, "count": each.count} for each in histogram(values)]


def _counted(values: "pd.Series[Any]") -> dict[str, int]:
    """The most frequent first; equally frequent ones by name."""
    counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return {str(name): int(count) for name, count in counts.items()}


@dataclass(frozen=True)
class DataReport:
    """facts: plain numbers, as JSON takes them. near: look-alikes; None where the table has none to tell of."""

    table: Table
    facts: dict[str, Any]
    near: Near | None
