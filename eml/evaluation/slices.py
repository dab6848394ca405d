"""Metrics by kind of query: where a model is good, and where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import seen_sizes
from eml.dataset.duplicates.same_images import same_images
from eml.dataset.filter import THRESHOLD
from eml.dataset.problems import column_names
from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.progress import Progress
from eml.retrieval.metrics import Summary
from eml.retrieval.statistics import Interval, as_pair, intervals, intervals_of, nest_metrics, statistic_of
from eml.retrieval.worst_classes import WorstClass, worst_classes

CATEGORY = "category"
CLASS_SIZES = (2, 3, 6, 11, 21, 51, 101, 501)  # least of each bin
SHORTER_SIDES = (1, 32, 64, 128, 256, 512, 1024)  # pixels, least of each bin
MOST = 20  # values of a column with a slice of their own
QUANTILES = 5  # bins of a numeric column with more values
NEAR = ("with a near-duplicate in the gallery", "without one")


@dataclass(frozen=True)
class Parts:
    """The queries of a set divided into parts.

    Attributes:
        title: What divides them.
        names: The parts.
        of: (Q,) index of each query's part in `names`, −1 for none.
    """

    title: str
    names: list[str]
    of: NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """The ways to divide the queries of a set into parts, independent of the model.

    Several models share it, since the search for near-duplicates reads images.

    Attributes:
        parts: The ways.
        left_out: Title → the reason why there is no such way.
    """

    parts: list[Parts]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Slice:
    """Metrics of one part of the queries.

    Attributes:
        name: The part.
        queries: The number of its queries with a positive.
        classes: The number of their classes.
        values: Metric → its value.
        intervals: Metric → its interval; empty for a single class, which says nothing about others.
    """

    name: str
    queries: int
    classes: int
    values: dict[str, float]
    intervals: dict[str, Interval]

    def facts(self) -> dict[str, Any]:
        """Return the slice for metrics.json."""
        return {
            "name": self.name,
            "queries": self.queries,
            "classes": self.classes,
            "values": self.values,
            "intervals": {name: as_pair(interval) for name, interval in self.intervals.items()},
        }


@dataclass(frozen=True)
class Slices:
    """Metrics of the parts of the queries, and the worst classes.

    Attributes:
        slices: Title → the metrics of each part.
        worst: The worst classes.
        left_out: Title → the reason why there are no slices.
    """

    slices: dict[str, list[Slice]] = field(default_factory=dict)
    worst: list[WorstClass] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return slices, worst_classes and slices_left_out for metrics.json."""
        return {
            "slices": [
                {"title": title, "rows": [part.facts() for part in parts]} for title, parts in self.slices.items()
            ],
            "worst_classes": [_worst_facts(worst) for worst in self.worst],
            "slices_left_out": self.left_out,
        }


def _worst_facts(worst: WorstClass) -> dict[str, Any]:
    return {
        "label": worst.label,
        "queries": worst.queries,
        "map_at_r": worst.values["map_at_r"],
        "recall_at_1": worst.values["recall_at_1"],
        "confused_with": worst.taken_for,
        "times": worst.times,
    }


def partition(
    table: Table, retrieval: RetrievalSet, columns: Sequence[str] = (), *, progress: Progress | None = None
) -> Partition:
    """Divide the queries by class size, image size, near-duplicates, the column `category` if any, and columns.

    Near-duplicates are searched for as in `eml filter`, with a second look at the images.

    Args:
        table: The table of the images.
        retrieval: Its queries and gallery.
        columns: Further columns to divide by.
        progress: Reports the second look at the images.

    Raises:
        DataError: The table lacks a column.
    """
    check_columns(table, columns)
    frame, queries = retrieval.frame, retrieval.queries
    left_out: dict[str, str] = {}
    parts = [by_bins("class size", _class_sizes(retrieval), CLASS_SIZES)]
    sizes = seen_sizes(frame)
    if sizes is None:
        left_out["shorter side"] = "the table has no width and height"
    else:
        shorter = sizes.min(axis=1).to_numpy(np.int64)[queries]
        parts.append(by_bins("shorter side (pixels)", shorter, SHORTER_SIDES))
    try:
        near = near_duplicates(table, retrieval, progress)
        parts.append(Parts("near-duplicates", list(NEAR), np.where(near, 0, 1)))
    except DataError as error:
        left_out["near-duplicates"] = str(error).splitlines()[0]
    titles = [*([CATEGORY] if CATEGORY in frame and CATEGORY not in columns else []), *columns]
    parts += [by_column(name, frame[name].iloc[queries]) for name in dict.fromkeys(titles)]
    return Partition(parts, left_out)


def measure_slices(division: Partition, retrieval: RetrievalSet, summary: Summary) -> Slices:
    """Return the metrics of each part that has queries with a positive, and the worst classes."""
    classes, left_out = retrieval.labels[retrieval.queries], dict(division.left_out)
    slices = {parts.title: measure_parts(parts, summary, classes) for parts in division.parts}
    for title in [title for title, rows in slices.items() if len(rows) < 2]:
        names = ", ".join(part.name for part in slices.pop(title))
        left_out[title] = f"all counted queries are in one part: {names}"
    names_of_rows = retrieval.frame["label"].tolist()
    worst = worst_classes(summary, retrieval.labels, names_of_rows, retrieval.queries, retrieval.gallery)
    return Slices(slices, worst, left_out)


def check_columns(table: Table, columns: Sequence[str]) -> None:
    """Check that a table has the columns to slice by.

    Raises:
        DataError: It lacks one.
    """
    if missing := [name for name in columns if name not in table.frame]:
        names = column_names(table.frame)
        which = f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise DataError(
            f"{table.name}: has no {which} to slice by; it has {names}", code="missing-column", parameter="slices"
        )


def measure_parts(parts: Parts, summary: Summary, classes: NDArray[np.int64]) -> list[Slice]:
    """Return the metrics of each part that has queries with a positive. classes: (Q,) of the summary's queries.

    The gallery is that of the whole set. GAP counts queries without a positive too, as it does for the set.
    """
    slices = []
    for index, name in enumerate(parts.names):
        places = np.flatnonzero(parts.of == index)
        if summary.answers.has_positive[places].any():
            slices.append(_measure_part(name, places, summary, classes[places]))
    return slices


def _measure_part(name: str, places: NDArray[np.int64], summary: Summary, classes: NDArray[np.int64]) -> Slice:
    """Return the metrics of the queries at some places. classes: of these queries."""
    counted = summary.answers.has_positive[places]
    per_query = {metric: values[places] for metric, values in summary.per_query.items()}
    statistic = statistic_of(summary.answers.of(places))
    means = {metric: float(values[counted].mean()) for metric, values in per_query.items()}
    values_of = means | dict(statistic(np.ones(len(places))))
    count = len(np.unique(classes[counted]))
    intervals_by_metric: dict[str, Interval] = {}
    if count > 1:
        intervals_by_metric = intervals(per_query, classes)
        intervals_by_metric = nest_metrics(
            intervals_by_metric | intervals_of(statistic, classes), summary.metrics or None
        )
    return Slice(
        name,
        int(counted.sum()),
        count,
        {metric: values_of[metric] for metric in summary.values},
        {metric: intervals_by_metric[metric] for metric in summary.values if metric in intervals_by_metric},
    )


def by_bins(title: str, values: NDArray[np.int64], least: Sequence[int]) -> Parts:
    """Divide whole numbers into bins. least: the least of each bin, ascending. Smaller numbers are in no bin."""
    names = []
    for low, above in zip(least, [*least[1:], None], strict=True):
        names.append(f"{low}+" if above is None else str(low) if above == low + 1 else f"{low}–{above - 1}")
    return Parts(title, names, np.searchsorted(least, values, side="right") - 1)


def by_column(title: str, column: "pd.Series[Any]") -> Parts:
    """Divide by the values of a column: the 20 most frequent texts, or five quantiles of numbers with more values.

    A text column that holds only numbers is numeric unless they are names: "007" beside "7", numbers with leading
    zeros, or numbers too large to differ in float64. Blank cells are a part of their own.
    """
    text = column.astype(str).where(column.notna(), "").to_numpy(object)
    blank = text == ""
    numbers = pd.to_numeric(pd.Series(text).mask(blank), errors="coerce").to_numpy(np.float64)
    if not blank.all() and _are_numbers(text[~blank], numbers[~blank]):
        names, part_of = _by_number(numbers[~blank], text[~blank])
    else:
        names, part_of = _by_frequency(text[~blank])
    part_of_all = np.full(len(text), len(names))
    part_of_all[~blank] = part_of
    blank_name = "(blank)" if "(blank)" not in names else "(empty cells)"
    return Parts(title, [*names, blank_name] if blank.any() else names, part_of_all)


def _are_numbers(text: NDArray[np.object_], numbers: NDArray[np.float64]) -> bool:
    """Return whether the values are amounts and not names written with digits."""
    if not (np.abs(numbers) < 2**53).all():  # false for NaN too
        return False
    padded = any(
        len(digits := value.lstrip("+-")) > 1 and digits[0] == "0" and digits[1].isdigit() for value in set(text)
    )
    return not padded and len(np.unique(text)) == len(np.unique(numbers))


def _by_number(numbers: NDArray[np.float64], text: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    values, first, part_of = np.unique(numbers, return_index=True, return_inverse=True)
    if len(values) <= MOST:
        return [str(value) for value in text[first]], part_of
    ends = np.unique(np.quantile(numbers, np.linspace(0, 1, QUANTILES + 1)[1:-1], method="lower"))
    part_of = np.searchsorted(ends, numbers, side="left")
    ends = ends[ends < values[-1]]
    ranges = []
    for index in range(len(ends) + 1):
        inside = numbers[part_of == index]
        ranges.append((inside.min(), inside.max()))  # none is empty: each end is one of the numbers
    for digits in (6, 10, 17):
        shown = [(f"{low:.{digits}g}", f"{high:.{digits}g}") for low, high in ranges]
        names = [low if low == high else f"{low}–{high}" for low, high in shown]
        if len(set(names)) == len(names):
            break
    return names, part_of


def _by_frequency(text: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    values, part_of, counts = np.unique(text, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names = [str(value) for value in values[order]]
    if len(names) > MOST + 1:
        names = [*names[:MOST], f"{len(names) - MOST:,} others"]
        place = np.minimum(place, MOST)
    return names, place[part_of]


def _class_sizes(retrieval: RetrievalSet) -> NDArray[np.int64]:
    """(Q,) images of each query's class in the set."""
    return np.bincount(retrieval.labels)[retrieval.labels[retrieval.queries]]


def near_duplicates(table: Table, retrieval: RetrievalSet, progress: Progress | None = None) -> NDArray[np.bool_]:
    """(Q,) whether the gallery has another image of the query's class that shows the same as the query.

    Such images have hashes within 10 bits and pass a second look at the images (where they can be read), as in
    `eml filter`.

    Raises:
        DataError: The table has no usable hashes, or images of the query's group are ignored.
    """
    if retrieval.groups is not None:
        raise DataError(
            f"{table.name}: near-duplicates may be among those left out ({retrieval.protocol})",
            code="conflicting-settings",
        )
    same = same_images(replace(table, frame=retrieval.frame), THRESHOLD, "within", progress, trust_hash=True)
    file_of_row = same.files.of_row
    in_gallery = np.zeros(len(retrieval.frame), bool)
    in_gallery[retrieval.gallery] = True
    gallery_copies = np.bincount(file_of_row[in_gallery], minlength=len(same.files.row))  # of each file
    has_near = np.zeros(len(gallery_copies), bool)
    for first, second in ((same.i, same.j), (same.j, same.i)):
        has_near[first[gallery_copies[second] > 0]] = True
    files = file_of_row[retrieval.queries]
    return has_near[files] | (gallery_copies[files] - in_gallery[retrieval.queries] > 0)
