"""Class names, labelled images, and both: what a cache of labelled images adds to zero-shot classification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from eml.config.text import shown
from eml.dataset.problems import SHOWN
from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.comparison import verdict_on
from eml.evaluation.texts.embedded import CachedImages, EmbeddedTexts
from eml.evaluation.texts.text_set import NamedClasses
from eml.evaluation.whitening import count_shared
from eml.inference.embeddings_file import has_file_names, read_embeddings
from eml.retrieval.statistics import Difference, Interval, as_pair
from eml.retrieval.tip_adapter import TipAdapter, class_means, fit_tip_adapter
from eml.retrieval.zero_shot import ClassPlaces, classify_by_vectors

NAMES, IMAGES, BOTH = "names only", "images only", "names and images"


@dataclass(frozen=True)
class AdaptedWay:
    """One way to classify the images of a set.

    Attributes:
        name: What it uses, in words.
        values: Accuracy → value.
        intervals: Accuracy → its interval over classes.
        differences: Accuracy → its value minus that of the names alone; empty for these.
    """

    name: str
    values: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, Difference]

    def facts(self) -> dict[str, Any]:
        """Return its part of metrics.json."""
        changes = {
            name: {"difference": change.value, "interval": as_pair(change.interval), "verdict": verdict_on(change)}
            for name, change in self.differences.items()
        }
        intervals = {name: as_pair(interval) for name, interval in self.intervals.items()}
        return {"name": self.name, "metrics": self.values, "intervals": intervals, "against_names": changes or None}


@dataclass(frozen=True)
class AdaptedClasses:
    """The images of a set classified by names, by labelled images, and by both.

    Attributes:
        ways: Names only, images only (the nearest class mean), and both (Tip-Adapter).
        adapter: Its weights and how they were chosen; without its images.
        source: The table or embeddings file of the labelled images.
        images: The number of labelled images.
        left_out: Images of the source whose classes the set lacks.
    """

    ways: list[AdaptedWay]
    adapter: TipAdapter
    source: str
    images: int
    left_out: int

    def facts(self) -> dict[str, Any]:
        """Return the key `adapted` of metrics.json."""
        adapter = self.adapter
        weights = {"alpha": adapter.alpha, "beta": adapter.beta, "scale": adapter.scale, "judges": adapter.judges}
        held_out = {"held_out_top_1": adapter.held_out, "held_out_top_1_of_names": adapter.held_out_names}
        counts = {"labelled_images": self.images, "images_of_other_classes": self.left_out}
        return {
            "labelled_from": self.source,
            **counts,
            **weights,
            **held_out,
            "rows": [way.facts() for way in self.ways],
        }

    def line(self) -> str:
        """Return a sentence that says where the images are from and how the weights were chosen."""
        adapter = self.adapter
        held_out = f"top-1 {adapter.held_out:.3f} of {adapter.judges:,} labelled images, each held out in turn"
        return (
            f"Names and images: a cache of {self.images:,} labelled images of {self.source} (Tip-Adapter), α "
            f"{adapter.alpha:.3g}, β {adapter.beta:g}: {held_out}, against {adapter.held_out_names:.3f} by names only. "
            "No measured image had a part in the choice."
        )


def adapt(embedded: EmbeddedTexts, images: Tensor, names: ClassPlaces) -> AdaptedClasses:
    """Classify images by labelled images, and by these and the class names.

    Args:
        embedded: With the vectors of classes and the labelled images.
        images: (Q, D) the images to classify.
        names: Where their classes stand by the names only.
    """
    labelled, vectors = embedded.labelled, embedded.classes
    assert labelled is not None
    assert vectors is not None
    adapter = fit_tip_adapter(labelled.embeddings, labelled.labels, vectors, scale=embedded.scale)
    means = class_means(labelled.embeddings, labelled.labels, names.num_classes)
    places = {
        NAMES: names,
        IMAGES: classify_by_vectors(images, names.labels, means),
        BOTH: adapter.classify(images, names.labels),
    }
    ways = [
        AdaptedWay(name, own.values(), own.intervals(), {} if own is names else own.differences(names))
        for name, own in places.items()
    ]
    return AdaptedClasses(ways, adapter.without_images(), labelled.source, len(labelled.labels), labelled.left_out)


def choose_labelled(table: Table, classes: NamedClasses, measured: Table, *, by_content: bool = True) -> pd.DataFrame:
    """Return the rows of a table of labelled images whose classes a set has.

    Args:
        table: The labelled images.
        classes: The classes of the set.
        measured: The table of the set.
        by_content: Whether images are recognised by the bytes of their files, else by their names.

    Raises:
        DataError: Some of them are measured too, or a class has none.
    """
    frame = table.frame[table.frame["label"].isin(set(classes.labels))]
    name = str(table.path or table.root)
    if missing := sorted(set(classes.labels) - set(frame["label"])):
        few = ", ".join(map(shown, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        text = f"{name}: no labelled image of {len(missing):,} of the {len(classes.labels):,} classes that are measured"
        raise DataError(
            f"{text}: {few}. Give other images of all of them as `adapt_on`; a training table of eml split has other "
            "classes than its test table",
            code="too-few-images",
            parameter="adapt_on",
        )
    chosen = Table(frame.reset_index(drop=True), table.root, table.path)
    shared = 0
    if by_content:
        shared = count_shared(chosen, measured)
    elif has_file_names(frame) and has_file_names(measured.frame):
        shared = int(frame["file_name"].isin(set(measured.frame["file_name"])).sum())
    if shared:
        text = f"{name}: {shared:,} of its images are among those that are measured, which would flatter"
        raise DataError(
            f"{text}. Give other images of the same classes as `adapt_on`",
            code="images-on-both-sides",
            parameter="adapt_on",
        )
    return chosen.frame


def labelled_images(embeddings: Tensor, frame: pd.DataFrame, table: Table, classes: NamedClasses) -> CachedImages:
    """Return embedded images (N, D) of rows of a table with the numbers of their classes."""
    number = {label: place for place, label in enumerate(classes.labels)}
    labels = np.array([number[label] for label in frame["label"]], np.int64)
    return CachedImages(embeddings, labels, str(table.path or table.root), len(table.frame) - len(frame))


def labelled_of_file(path: Path, classes: NamedClasses, measured: Table) -> CachedImages:
    """Return the labelled images of an embeddings file, which are known to be measured ones by their names.

    Raises:
        DataError: The file cannot be read or has no labels, or as `choose_labelled`.
    """
    table, embeddings = read_embeddings(path)
    table = Table(table.frame, table.root, path)
    keeps = table.frame["label"].isin(set(classes.labels)).to_numpy(bool)
    frame = choose_labelled(table, classes, measured, by_content=False)
    return labelled_images(embeddings[np.flatnonzero(keeps)], frame, table, classes)
