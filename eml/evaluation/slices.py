"""Metrics by kind of query: where a model is good, and where not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import seen_sizes
from eml.dataset.duplicates.same_images import same_images
from eml.dataset.filter import THRESHOLD
from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.progress import Progress
from eml.retrieval.metrics import Summary
from eml.retrieval.statistics import Interval, as_pair, intervals, intervals_of, statistic_of
from eml.retrieval.worst_classes import WorstClass, worst_classes

CATEGORY = "category"
CLASS_SIZES = (2, 3, 6, 11, 21, 51, 101, 501)  # least of each bin
SHORTER_SIDES = (1, 32, 64, 128, 256, 512, 1024)  # pixels, least of each bin
MOST = 20  # values of a column with a slice of their own
QUANTILES = 5  # bins of a numeric column with more values
NEAR = ("with a near-duplicate in the gallery", "without one")


@dataclass(frozen=True)
class Parts:
    """Which part each query belongs to. of: (Q,) index into names, −1 for none."""

    title: str
    names: list[str]
    of: NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """The ways in which the queries of a set fall into parts, whatever the model. left_out: title → why there is none.

    Worth making once for several models: near-duplicates take a second look at the images.
    """

    parts: list[Parts]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Slice:
    """Of the queries of one part that count: how many, of how many classes, their means and the means' intervals.

    intervals: {} of one class, which says nothing about others.
    """

    name: str
    queries: int
    classes: int
    values: dict[str, float]
    intervals: dict[str, Interval]

    def facts(self) -> dict[str, Any]:
        """For metrics.json."""
        pairs = {name: as_pair(each) for name, each in self.intervals.items()}
        return {
            "name": self.name,
            "queries": self.queries,
            "classes": self.classes,
            "values": self.values,
            "intervals": pairs,
        }


@dataclass(frozen=True)
class Slices:
    """slices: by title. left_out: title → why there is none."""

    slices: dict[str, list[Slice]]
    worst: list[WorstClass]
    left_out: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """For metrics.json: slices, worst_classes, slices_left_out."""
        return {
            "slices": [
                {"title": title, "rows": [each.facts() for each in rows]} for title, rows in self.slices.items()
            ],
            "worst_classes": [_facts_of(each) for each in self.worst],
            "slices_left_out": self.left_out,
        }


def _facts_of(worst: WorstClass) -> dict[str, Any]:
    return {
        "label": worst.label,
        "queries": worst.queries,
        "map_at_r": worst.values["map_at_r"],
        "recall_at_1": worst.values["recall_at_1"],
        "confused_with": worst.taken_for,
        "times": worst.times,
    }


def slices_of(
    table: Table,
    wanted: RetrievalSet,
    summary: Summary,
    columns: Sequence[str] = (),
    *,
    progress: Progress | None = None,
) -> Slices:
    """`partition` of the set, and the metrics of its parts. Raises DataError for a column that the table lacks."""
    return sliced_by(partition(table, wanted, columns, progress=progress), wanted, summary)


def partition(
    table: Table, wanted: RetrievalSet, columns: Sequence[str] = (), *, progress: Progress | None = None
) -> Partition:
    """By class size, size of the image, near-duplicates, the column `category` if there, and further columns.

    Near-duplicates are searched for as `eml filter` does, with a second look at the images.
    Raises DataError for a column that the table does not have.
    """
    check_columns(table, columns)
    frame, queries = wanted.frame, wanted.queries
    left_out: dict[str, str] = {}
    parts = [by_bins("class size", _class_sizes(wanted), CLASS_SIZES)]
    sizes = seen_sizes(frame)
    if sizes is None:
        left_out["shorter side"] = "the table has no width and height"
    else:
        shorter = sizes.min(axis=1).to_numpy(np.int64)[queries]
        parts.append(by_bins("shorter side (pixels)", shorter, SHORTER_SIDES))
    try:
        near = near_duplicates(table, wanted, progress)
        parts.append(Parts("near-duplicates", list(NEAR), np.where(near, 0, 1)))
    except DataError as error:
        left_out["near-duplicates"] = str(error).splitlines()[0]
    named = [*([CATEGORY] if CATEGORY in frame and CATEGORY not in columns else []), *columns]
    parts += [by_column(name, frame[name].iloc[queries]) for name in dict.fromkeys(named)]
    return Partition(parts, left_out)


def sliced_by(made: Partition, wanted: RetrievalSet, summary: Summary) -> Slices:
    """The metrics of each part that has queries that count, and the worst classes."""
    classes, left_out = wanted.labels[wanted.queries], dict(made.left_out)
    found = {each.title: sliced(each, summary, classes) for each in made.parts}
    for title in [title for title, rows in found.items() if len(rows) < 2]:
        left_out[title] = f"all queries that count are in one part: {', '.join(each.name for each in found.pop(title))}"
    names = wanted.frame["label"].tolist()
    return Slices(found, worst_classes(summary, wanted.labels, names, wanted.queries, wanted.gallery), left_out)


def check_columns(table: Table, columns: Sequence[str]) -> None:
    """Raises DataError for those that the table does not have."""
    if missing := [name for name in columns if name not in table.frame]:
        have = ", ".join(map(str, table.frame))
        which = f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise DataError(f"{table.name}: has no {which} to slice by; it has {have}")


def sliced(parts: Parts, summary: Summary, classes: NDArray[np.int64]) -> list[Slice]:
    """Each part with queries that count. classes: (Q,) of the summary's queries.

    The gallery is that of the whole set. GAP is of all queries of the part, as in the set: also without a positive.
    """
    found = []
    for index, name in enumerate(parts.names):
        mine = np.flatnonzero(parts.of == index)
        if summary.answers.has_positive[mine].any():
            found.append(_slice(name, mine, summary, classes[mine]))
    return found


def _slice(name: str, mine: NDArray[np.int64], summary: Summary, classes: NDArray[np.int64]) -> Slice:
    """mine: places among the queries; classes: of these."""
    counted = summary.answers.has_positive[mine]
    per_query = {metric: values[mine] for metric, values in summary.per_query.items()}
    together = statistic_of(summary.answers.of(mine))
    values = {metric: float(each[counted].mean()) for metric, each in per_query.items()} | dict(
        together(np.ones(len(mine)))
    )
    count = len(np.unique(classes[counted]))
    found: dict[str, Interval] = {}
    if count > 1:
        found = intervals(per_query, classes)
        found |= intervals_of(together, classes)
    return Slice(
        name,
        int(counted.sum()),
        count,
        {metric: values[metric] for metric in summary.values},
        {metric: found[metric] for metric in summary.values if metric in found},
    )


def by_bins(title: str, values: NDArray[np.int64], least: Sequence[int]) -> Parts:
    """Whole numbers by bins, given by the least of each, ascending; what is below the first is in none."""
    names = []
    for low, above in zip(least, [*least[1:], None], strict=True):
        names.append(f"{low}+" if above is None else str(low) if above == low + 1 else f"{low}–{above - 1}")
    return Parts(title, names, np.searchsorted(least, values, side="right") - 1)


def by_column(title: str, column: "pd.Series[Any]") -> Parts:
    """By value; of text the 20 most frequent, the others together; of numbers with more values, five quantiles.

    A column of text that holds nothing but numbers is one of numbers, unless these are names: "007" beside "7", or
    with zeros before them, or too large to be told apart. Blank cells are a part of their own.
    """
    text = column.astype(str).where(column.notna(), "").to_numpy(str)
    blank = text == ""
    numbers = pd.to_numeric(pd.Series(text).mask(blank), errors="coerce").to_numpy(np.float64)
    if not blank.all() and _are_numbers(text[~blank], numbers[~blank]):
        names, of = _by_number(numbers[~blank], text[~blank])
    else:
        names, of = _by_frequency(text[~blank])
    everywhere = np.full(len(text), len(names))
    everywhere[~blank] = of
    nothing = "(blank)" if "(blank)" not in names else "(empty cells)"
    return Parts(title, [*names, nothing] if blank.any() else names, everywhere)


def _are_numbers(text: NDArray[np.str_], numbers: NDArray[np.float64]) -> bool:
    """Whether the values are amounts, not names that are written with digits."""
    if not (np.abs(numbers) < 2**53).all():  # NaN is not either
        return False
    padded = any(
        len(digits := each.lstrip("+-")) > 1 and digits[0] == "0" and digits[1].isdigit() for each in set(text)
    )
    return not padded and len(np.unique(text)) == len(np.unique(numbers))


def _by_number(numbers: NDArray[np.float64], text: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int64]]:
    values, first, of = np.unique(numbers, return_index=True, return_inverse=True)
    if len(values) <= MOST:
        return [str(each) for each in text[first]], of
    ends = np.unique(np.quantile(numbers, np.linspace(0, 1, QUANTILES + 1)[1:-1], method="lower"))
    of = np.searchsorted(ends, numbers, side="left")
    ends = ends[ends < values[-1]]
    ends_of = []
    for index in range(len(ends) + 1):
        mine = numbers[of == index]
        ends_of.append((mine.min(), mine.max()))  # none is empty: each end is one of the numbers
    for digits in (6, 10, 17):
        shown = [(f"{low:.{digits}g}", f"{high:.{digits}g}") for low, high in ends_of]
        names = [low if low == high else f"{low}–{high}" for low, high in shown]
        if len(set(names)) == len(names):
            break
    return names, of


def _by_frequency(text: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int64]]:
    values, of, counts = np.unique(text, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names = [str(each) for each in values[order]]
    if len(names) > MOST + 1:
        names = [*names[:MOST], f"{len(names) - MOST:,} others"]
        place = np.minimum(place, MOST)
    return names, place[of]


def _class_sizes(wanted: RetrievalSet) -> NDArray[np.int64]:
    """(Q,) images of each query's class in the set."""
    return np.bincount(wanted.labels)[wanted.labels[wanted.queries]]


def near_duplicates(table: Table, wanted: RetrievalSet, progress: Progress | None = None) -> NDArray[np.bool_]:
    """(Q,) whether the gallery has another image of the query's class that shows the same as the query.

    Hashes within 10 bits and a second look at the images (where they can be read), as in `eml filter`. Raises
    DataError where the table has no usable hashes, and where images of the query's group do not count.
    """
    if wanted.groups is not None:
        raise DataError(f"{table.name}: near-duplicates may be among those left out ({wanted.protocol})")
    same = same_images(replace(table, frame=wanted.frame), THRESHOLD, "within", progress, trust_hash=True)
    of_row = same.files.of_row
    in_gallery = np.zeros(len(wanted.frame), bool)
    in_gallery[wanted.gallery] = True
    held = np.bincount(of_row[in_gallery], minlength=len(same.files.row))  # images of the gallery that are this file
    others = np.zeros(len(held), bool)
    for one, other in ((same.i, same.j), (same.j, same.i)):
        others[one[held[other] > 0]] = True
    mine = of_row[wanted.queries]
    return others[mine] | (held[mine] - in_gallery[wanted.queries] > 0)
