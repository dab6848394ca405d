"""The figures of the networks that were probed, their order, and the one to take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eml.evaluation.comparison import verdict_on
from eml.evaluation.probing.candidates import Candidate
from eml.evaluation.probing.linear_stage import LinearStage
from eml.evaluation.probing.timing import Speed
from eml.evaluation.trained_overlap import UNKNOWN_OVERLAP, TrainedOverlap
from eml.images.image_size import Size
from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.statistics import Difference, Interval, as_pair, intervals
from eml.retrieval.statistics.choice import judge

METRIC = "map_at_r"
MOST_LOSS = 0.01
"""MAP@R that a quicker network may lose to the best one, by the lower end of the interval, to be taken in its place."""


@dataclass(frozen=True)
class Measured:
    """Holds what was measured of a network.

    Attributes:
        untouched: (N,) MAP@R of each image as a query, NaN where it does not count.
        linear: The same with within-class whitening that was learnt on other classes; None of too few classes.
        labels: (N,) numbers of the classes.
        speed: The time of an image.
        embedding_size: The size of an embedding.
        parameters: Of the network.
        image_size: Side of its images (pixels), or (height, width).
        fingerprint: The digest of what decides the embeddings.
        trained_on: How much of the images eml trained it on.
    """

    untouched: Floats
    linear: LinearStage | None
    labels: Integers
    speed: Speed
    embedding_size: int
    parameters: int
    image_size: Size
    fingerprint: str
    trained_on: TrainedOverlap = UNKNOWN_OVERLAP

    @property
    def judged(self) -> Floats:
        """(N,) MAP@R by which networks are ranked: with the linear stage where there is one."""
        return self.untouched if self.linear is None else self.linear.per_query

    def mean(self, per_query: Floats) -> float:
        """Return the mean of the queries that count."""
        return float(np.nanmean(per_query))

    def interval(self, per_query: Floats) -> Interval:
        """Return the interval over classes of such a mean."""
        return intervals({METRIC: per_query}, self.labels)[METRIC]


@dataclass(frozen=True)
class ProbeRow:
    """A candidate and its figures, or why it has none.

    Attributes:
        candidate: The network.
        measured: Its figures; None where it could not be loaded or fetched.
        to_best: Its MAP@R minus that of the best, over the same queries; None of the best itself.
        problem: Why it has no figures.
    """

    candidate: Candidate
    measured: Measured | None = None
    to_best: Difference | None = None
    problem: str = ""

    @property
    def is_random(self) -> bool:
        """Whether its weights are random, so that it is a control and not to be taken."""
        return self.candidate.kind == "none"

    def facts(self) -> dict[str, Any]:
        """Return the row for JSON."""
        own = self.candidate
        facts: dict[str, Any] = {"name": own.name, "backbone": own.backbone, "source": own.source}
        facts |= {"weights": own.weights if own.backbone else None, "weights_from": own.kind, "licence": own.licence}
        if self.measured is None:
            return facts | {"problem": self.problem}
        measured = self.measured
        return facts | {
            "untouched": _figure(measured, measured.untouched),
            "linear_stage": None
            if measured.linear is None
            else _figure(measured, measured.linear.per_query) | {"shrinkages": list(measured.linear.shrinkages)},
            "to_best": _difference(self.to_best),
            "ms_per_image": measured.speed.milliseconds,
            "batch_size": measured.speed.batch_size,
            "threads": measured.speed.threads,
            "device": measured.speed.device,
            "embedding_size": measured.embedding_size,
            "parameters": measured.parameters,
            "image_size": measured.image_size,
            "fingerprint": measured.fingerprint,
            "trained_on": measured.trained_on.facts(),
        }


def _figure(measured: Measured, per_query: Floats) -> dict[str, Any]:
    interval = measured.interval(per_query)
    return {"map_at_r": measured.mean(per_query), "interval": as_pair(interval), "classes": interval.classes}


def _difference(change: Difference | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {"value": change.value, "interval": as_pair(change.interval), "verdict": verdict_on(change)}


def ranked(rows: Sequence[ProbeRow]) -> list[ProbeRow]:
    """Return the rows, the best first, each with its difference to the best; those without figures last.

    The intervals of the differences hold together (Bonferroni): of many networks one is easily best by chance.
    """
    measured = [(row, row.measured) for row in rows if row.measured is not None]
    measured.sort(key=lambda pair: -pair[1].mean(pair[1].judged))
    result = []
    for row, figures in measured:
        best = measured[0][1]
        change = None
        if figures is not best:
            change = judge(best.judged, figures.judged, figures.labels, len(measured) - 1)
        result.append(ProbeRow(row.candidate, figures, change))
    return result + [row for row in rows if row.measured is None]


@dataclass(frozen=True)
class Pick:
    """The network to take.

    Attributes:
        row: Its row.
        reason: Why it is taken, in a sentence.
    """

    row: ProbeRow
    reason: str


def pick(rows: Sequence[ProbeRow]) -> Pick | None:
    """Return the best network, or a quicker one that surely loses little; None where all weights are random.

    Args:
        rows: As `ranked` returns them.
    """
    able = [(row, row.measured) for row in rows if row.measured is not None and not row.is_random]
    if not able:
        return None
    best, figures = able[0]
    labels = figures.labels
    quick = [(best, figures)]
    unsure = []
    for row, candidate in able[1:]:
        change = judge(figures.judged, candidate.judged, labels, len(able) - 1)
        if change.alike or change.interval.low >= -MOST_LOSS:
            quick.append((row, candidate))
        elif change.interval.high >= 0:
            unsure.append(row.candidate.name)
    chosen, speed = min(quick, key=lambda pair: pair[1].speed.milliseconds)
    if chosen is not best:
        text = f"{chosen.candidate.name}: surely within {MOST_LOSS:g} MAP@R of {best.candidate.name}, and quicker"
        return Pick(
            chosen, f"{text} ({speed.speed.milliseconds:.1f} ms an image, not {figures.speed.milliseconds:.1f})"
        )
    reason = f"{best.candidate.name}: the highest MAP@R"
    if unsure:
        reason += f"; these images cannot tell it from {', '.join(unsure)}"
    return Pick(best, reason)
