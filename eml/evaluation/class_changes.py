"""The classes that gained and lost most between two models on one set, and their queries."""

from dataclasses import dataclass, replace

import numpy as np

from eml.evaluation.evaluate import Evaluation
from eml.retrieval.worst_classes import METRIC

LISTED = 10  # classes that gained most, and classes that lost most
QUERIES = 2  # shown of each class


@dataclass(frozen=True)
class FirstNeighbour:
    """The nearest image of a query. row: in the set's frame. right: whether it is of the query's class."""

    row: int
    file_name: str
    right: bool


@dataclass(frozen=True)
class ChangedQuery:
    """A query whose answer changed.

    Attributes:
        row: The query in the set's frame.
        file_name: Its image.
        before: Its MAP@R with the model compared against.
        after: Its MAP@R with the model itself.
        was: Its first neighbour before; None if its gallery is empty.
        now: Its first neighbour after.
    """

    row: int
    file_name: str
    before: float
    after: float
    was: FirstNeighbour | None
    now: FirstNeighbour | None


@dataclass(frozen=True)
class ClassChange:
    """A class and the change of its mean MAP@R.

    Attributes:
        label: The class.
        queries: The number of its queries with a positive.
        before: Its mean MAP@R with the model compared against.
        after: Its mean MAP@R with the model itself.
        to_right: The number of queries whose first neighbour became right.
        to_wrong: The number of queries whose first neighbour became wrong.
        changed: Some of the queries that changed in the direction of their class.
    """

    label: str
    queries: int
    before: float
    after: float
    to_right: int
    to_wrong: int
    changed: tuple[ChangedQuery, ...] = ()


def gained_and_lost(evaluation: Evaluation, against: Evaluation) -> tuple[list[ClassChange], list[ClassChange]]:
    """Return the classes whose mean MAP@R rose most with a model against another, and those whose fell most.

    Both evaluations are of the same set. Each class has some of its queries.
    """
    changes = class_changes(evaluation, against)
    gained = [change for change in changes if change.after > change.before][:LISTED]
    lost = [change for change in reversed(changes) if change.after < change.before][:LISTED]
    return (
        [_with_queries(change, evaluation, against) for change in gained],
        [_with_queries(change, evaluation, against) for change in lost],
    )


def class_changes(evaluation: Evaluation, against: Evaluation) -> list[ClassChange]:
    """Return every class with a query that has a positive, by falling change of its mean MAP@R, then by label."""
    retrieval, counted = evaluation.retrieval, evaluation.summary.answers.has_positive
    places = np.flatnonzero(counted)
    codes = retrieval.labels[retrieval.queries[places]]
    _, first, class_of = np.unique(codes, return_index=True, return_inverse=True)
    queries = np.bincount(class_of)
    before, after = (
        np.bincount(class_of, model.summary.per_query[METRIC][places]) / queries for model in (against, evaluation)
    )
    was, now = (model.summary.answers.right[places] for model in (against, evaluation))
    to_right, to_wrong = (
        np.bincount(class_of, turned, len(queries)).astype(int) for turned in (~was & now, was & ~now)
    )
    names = retrieval.frame["label"].to_numpy(object)[retrieval.queries[places[first]]]
    order = np.argsort(before - after, kind="stable")
    return [
        ClassChange(
            str(names[i]), int(queries[i]), float(before[i]), float(after[i]), int(to_right[i]), int(to_wrong[i])
        )
        for i in order
    ]


def _with_queries(change: ClassChange, evaluation: Evaluation, against: Evaluation) -> ClassChange:
    """Return the change with queries that went its way: those whose first neighbour did come first, then by MAP@R."""
    retrieval = evaluation.retrieval
    labels = retrieval.frame["label"].to_numpy(object)[retrieval.queries]
    places = np.flatnonzero((labels == change.label) & evaluation.summary.answers.has_positive)
    direction = 1 if change.after > change.before else -1
    moved = direction * (evaluation.summary.per_query[METRIC] - against.summary.per_query[METRIC])[places]
    now, was = (model.summary.answers.right.astype(int) for model in (evaluation, against))
    turned = direction * (now - was)[places]
    order = np.lexsort((-moved, -turned))
    chosen = places[order[moved[order] > 0][:QUERIES]]
    return replace(change, changed=tuple(_changed_query(int(place), evaluation, against) for place in chosen))


def _changed_query(place: int, evaluation: Evaluation, against: Evaluation) -> ChangedQuery:
    """Return the query at a place of the set's queries."""
    retrieval = evaluation.retrieval
    row = int(retrieval.queries[place])
    before, after = (float(model.summary.per_query[METRIC][place]) for model in (against, evaluation))
    was, now = (_first_neighbour(model, place) for model in (against, evaluation))
    return ChangedQuery(row, str(retrieval.frame["file_name"].iloc[row]), before, after, was, now)


def _first_neighbour(evaluation: Evaluation, place: int) -> FirstNeighbour | None:
    answers, retrieval = evaluation.summary.answers, evaluation.retrieval
    if answers.nearest[place] < 0:
        return None
    row = int(retrieval.gallery[answers.nearest[place]])
    return FirstNeighbour(row, str(retrieval.frame["file_name"].iloc[row]), bool(answers.right[place]))
