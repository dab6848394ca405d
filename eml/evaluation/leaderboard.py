"""Several models on one set: which is best, and which of the others the data cannot tell from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eml.errors import DataError
from eml.evaluation.analysis import EvaluationAnalysis
from eml.evaluation.comparison import ALIKE, UNKNOWN, check_same_set, verdict_on
from eml.retrieval.statistics import Difference, as_pair, paired
from eml.retrieval.worst_classes import METRIC

BEST = "best"


@dataclass(frozen=True)
class LeaderboardEntry:
    """A model among others. change: its value minus that of the best, query by query; None of the best itself."""

    found: EvaluationAnalysis
    change: Difference | None

    @property
    def name(self) -> str:
        """Of the model, as it was asked for."""
        return self.found.evaluation.name

    @property
    def verdict(self) -> str:
        """best, or what `verdict_on` the change says."""
        return BEST if self.change is None else verdict_on(self.change)


@dataclass(frozen=True)
class Leaderboard:
    """In the order of the models' MAP@R, the highest first. not_compared: why there are no changes, where so."""

    models: list[LeaderboardEntry]
    not_compared: str = ""

    def facts(self, found: EvaluationAnalysis) -> dict[str, Any]:
        """Of one of the models, for metrics.json: the best, its own place, its difference to the best."""
        place = next(place for place, each in enumerate(self.models) if each.found is found)
        changed = self.models[place].change
        return {
            "metric": METRIC,
            "place": place + 1,
            "models": len(self.models),
            "best": self.models[0].name,
            "difference": None if changed is None else changed.value,
            "interval": None if changed is None else as_pair(changed.interval),
            "verdict": None if self.not_compared else self.models[place].verdict,
        }

    def lines(self) -> list[str]:
        """Which models the data cannot tell from the best."""
        if self.not_compared:
            return [f"The models are not compared with one another: {self.not_compared}"]
        best, metric = self.models[0], self.models[0].found.evaluation.summary.shown[METRIC]
        alike = [each.name for each in self.models[1:] if each.verdict in (UNKNOWN, ALIKE)]
        if not alike:
            return [
                f"{best.name} is better than {'the other' if len(self.models) == 2 else 'each other one'} in {metric}."
            ]
        return [f"The data cannot tell {best.name} and {', '.join(alike)} apart in {metric}."]


def build_leaderboard(findings: Sequence[EvaluationAnalysis]) -> Leaderboard:
    """Each model compared with the one of the highest MAP@R, by paired differences; equal ones in their order.

    Models of different images (embeddings made elsewhere) are put in order and not compared.
    """
    ordered = sorted(findings, key=lambda each: -each.evaluation.summary.values[METRIC])
    best = ordered[0].evaluation
    try:
        for each in ordered[1:]:
            check_same_set(each.evaluation, best)
    except DataError as error:
        return Leaderboard([LeaderboardEntry(each, None) for each in ordered], str(error))
    classes = best.wanted.labels[best.wanted.queries]
    changes = [
        paired({METRIC: best.summary.per_query[METRIC]}, {METRIC: each.evaluation.summary.per_query[METRIC]}, classes)[
            METRIC
        ]
        for each in ordered[1:]
    ]
    return Leaderboard([LeaderboardEntry(each, change) for each, change in zip(ordered, [None, *changes], strict=True)])
