"""A config fitted to a dataset: what `eml init` writes."""

import math
from dataclasses import dataclass
from typing import Any

from eml.dataset.columns import seen_sizes
from eml.dataset.table import Table
from eml.errors import DataError

PICTURES_SEEN = 13_000  # what configs/grocery160.yaml sees; more did not pay on a few dozen classes


@dataclass(frozen=True)
class Suggestion:
    """values: keys of RunConfig that differ from its defaults. reasons: a line for each choice."""

    values: dict[str, Any]
    reasons: list[str]


def suggest(table: Table, *, backbone: str, weights: str, table_path: str) -> Suggestion:
    """Image size from the pictures, epochs and batch from their number, scale from the number of classes.

    Raises DataError when the table has fewer than two classes or no class of two pictures.
    """
    counts = table.frame["label"].value_counts()
    if len(counts) < 2 or counts.max() < 2:
        raise DataError(
            f"{table.name}: {len(counts)} classes, the largest of {counts.max()} pictures; "
            "metric learning needs at least 2 classes and pictures of the same thing"
        )
    pictures, classes = len(table.frame), len(counts)
    size = _image_size(table)
    epochs = max(5, min(30, round(PICTURES_SEEN / pictures)))
    batch_size = 32 if pictures < 20_000 else 64
    scale = max(8.0, round(2 * math.sqrt(2) * math.log(max(3, classes) - 1)))
    scratch = weights == "none"
    rates = {"backbone": 1e-3, "neck": 1e-3, "class_weights": 1e-2} if scratch else {}
    values: dict[str, Any] = {
        "output": "run",
        "data": {"table": table_path, "fold": 0},
        "image": {"size": size},
        "model": {"backbone": backbone, "weights": weights}
        | ({} if scratch else {"batch_norm": "frozen", "neck": {"type": "identity"}}),
        "margin": {"type": "cosface", "m": 0.2},
        "head": {"scale": scale},
        "epochs": epochs,
        "batch_size": batch_size,
    } | ({"optimizer": {"lr": rates}} if rates else {})
    reasons = [
        f"{pictures:,} pictures of {classes:,} classes, {counts.min():,} to {counts.max():,} each",
        f"image.size {size}: the median picture's longer side, in steps of 32, at most 224",
        f"epochs {epochs}: about {PICTURES_SEEN:,} pictures seen, in 5 to 30 epochs",
        f"scale {scale:.0f}, twice √2·ln(classes−1), and margin 0.2: the papers' 64 is for 100,000 classes",
        "random flips mirror pictures left to right: set augment.flip to 0 for text, signs and other one-handed things",
    ]
    return Suggestion(values, reasons)


def _image_size(table: Table) -> int:
    sizes = seen_sizes(table.frame)
    if sizes is None:
        return 224
    longer = sizes.max(axis=1).median()
    return int(min(224, max(64, round(longer / 32) * 32)))
