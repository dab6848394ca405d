"""Two models on one set: the classes that gained and lost most, and their queries."""

from dataclasses import dataclass, replace

import numpy as np

from eml.evaluation.evaluate import Evaluation
from eml.retrieval.worst_classes import METRIC

LISTED = 10  # classes that gained most, and that lost most
QUERIES = 2  # of each, to look at


@dataclass(frozen=True)
class FirstNeighbour:
    """row: in the set's frame. right: whether it is of the query's class."""

    row: int
    file_name: str
    right: bool


@dataclass(frozen=True)
class ChangedQuery:
    """before, after: its MAP@R. was, now: its first neighbour, None where the gallery has none for it."""

    row: int
    file_name: str
    before: float
    after: float
    was: FirstNeighbour | None
    now: FirstNeighbour | None


@dataclass(frozen=True)
class ClassChange:
    """A class whose mean MAP@R changed. to_right, to_wrong: queries whose first neighbour became right, or wrong.

    changed: some of the queries that went the way of their class.
    """

    label: str
    queries: int
    before: float
    after: float
    to_right: int
    to_wrong: int
    changed: tuple[ChangedQuery, ...] = ()


def gained_and_lost(one: Evaluation, against: Evaluation) -> tuple[list[ClassChange], list[ClassChange]]:
    """The classes whose mean MAP@R rose most with `one`, and those whose fell most, with queries to look at.

    Both are of the same set.
    """
    changes = class_changes(one, against)
    gained = [each for each in changes if each.after > each.before][:LISTED]
    lost = [each for each in reversed(changes) if each.after < each.before][:LISTED]
    return [_with_queries(each, one, against) for each in gained], [_with_queries(each, one, against) for each in lost]


def class_changes(one: Evaluation, against: Evaluation) -> list[ClassChange]:
    """Every class with a query that counts, by falling change of its mean MAP@R; equal ones by label."""
    wanted, counted = one.wanted, one.summary.answers.has_positive
    rows = np.flatnonzero(counted)
    _, first, of = np.unique(wanted.labels[wanted.queries[rows]], return_index=True, return_inverse=True)
    queries = np.bincount(of)
    before, after = (np.bincount(of, each.summary.per_query[METRIC][rows]) / queries for each in (against, one))
    was, now = (each.summary.answers.right[rows] for each in (against, one))
    to_right, to_wrong = (np.bincount(of, changed, len(queries)).astype(int) for changed in (~was & now, was & ~now))
    names = wanted.frame["label"].to_numpy(str)[wanted.queries[rows[first]]]
    order = np.argsort(before - after, kind="stable")
    return [
        ClassChange(
            str(names[i]), int(queries[i]), float(before[i]), float(after[i]), int(to_right[i]), int(to_wrong[i])
        )
        for i in order
    ]


def _with_queries(change: ClassChange, one: Evaluation, against: Evaluation) -> ClassChange:
    """The queries that went the class's way: first those whose first neighbour did, then by their MAP@R."""
    wanted = one.wanted
    labels = wanted.frame["label"].to_numpy(str)[wanted.queries]
    mine = np.flatnonzero((labels == change.label) & one.summary.answers.has_positive)
    way = 1 if change.after > change.before else -1
    moved = way * (one.summary.per_query[METRIC] - against.summary.per_query[METRIC])[mine]
    turned = way * (one.summary.answers.right.astype(int) - against.summary.answers.right)[mine]
    order = np.lexsort((-moved, -turned))
    places = mine[order[moved[order] > 0][:QUERIES]]
    return replace(change, changed=tuple(_changed(int(place), one, against) for place in places))


def _changed(place: int, one: Evaluation, against: Evaluation) -> ChangedQuery:
    wanted, names = one.wanted, one.wanted.frame["file_name"]

    def first(evaluation: Evaluation) -> FirstNeighbour | None:
        answers = evaluation.summary.answers
        if answers.nearest[place] < 0:
            return None
        row = int(wanted.gallery[answers.nearest[place]])
        return FirstNeighbour(row, str(names.iloc[row]), bool(answers.right[place]))

    row = int(wanted.queries[place])
    before, after = (float(each.summary.per_query[METRIC][place]) for each in (against, one))
    return ChangedQuery(row, str(names.iloc[row]), before, after, first(against), first(one))
