"""Several models on one set: which is best, and which the data cannot tell from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eml.errors import DataError
from eml.evaluation.analysis import EvaluationAnalysis
from eml.evaluation.comparison import ALIKE, UNKNOWN, check_same_set, verdict_on
from eml.evaluation.trained_overlap import TrainedOverlap, comparison_lines
from eml.retrieval.statistics import Difference, as_pair, paired
from eml.retrieval.worst_classes import METRIC

BEST = "best"


@dataclass(frozen=True)
class LeaderboardEntry:
    """A model among others.

    Attributes:
        analysis: Its evaluation.
        change: Its MAP@R minus that of the best, query by query; None for the best itself.
    """

    analysis: EvaluationAnalysis
    change: Difference | None

    @property
    def name(self) -> str:
        """The model, as it was named by the user."""
        return self.analysis.evaluation.name

    @property
    def lead(self) -> Difference | None:
        """The MAP@R of the best minus that of this model; None for the best itself."""
        return None if self.change is None else self.change.reversed

    @property
    def trained_on(self) -> TrainedOverlap:
        """How much of the set the model was trained on."""
        return self.analysis.evaluation.trained_on

    @property
    def verdict(self) -> str:
        """best, or `verdict_on` the change."""
        return BEST if self.change is None else verdict_on(self.change)


@dataclass(frozen=True)
class Leaderboard:
    """Models by falling MAP@R.

    Attributes:
        entries: The models, the best first.
        not_compared: Why there are no changes; empty if there are.
    """

    entries: list[LeaderboardEntry]
    not_compared: str = ""

    def facts(self, analysis: EvaluationAnalysis) -> dict[str, Any]:
        """Return the place of one of the models, and its difference to the best, for metrics.json."""
        place = next(place for place, entry in enumerate(self.entries) if entry.analysis is analysis)
        entry = self.entries[place]
        return {
            "metric": METRIC,
            "place": place + 1,
            "models": len(self.entries),
            "best": self.entries[0].name,
            "difference": None if entry.change is None else entry.change.value,
            "interval": None if entry.change is None else as_pair(entry.change.interval),
            "verdict": None if self.not_compared else entry.verdict,
        }

    def lines(self) -> list[str]:
        """Return sentences: which models the data cannot tell from the best, of two by how much; which knew the set."""
        if self.not_compared:
            return [f"The models are not compared with one another: {self.not_compared}"]
        return [self._verdict(), *comparison_lines({entry.name: entry.trained_on for entry in self.entries})]

    def _verdict(self) -> str:
        best, metric = self.entries[0], self.entries[0].analysis.evaluation.summary.shown[METRIC]
        alike = [entry.name for entry in self.entries[1:] if entry.verdict in (UNKNOWN, ALIKE)]
        amount = ""
        if len(self.entries) == 2 and (lead := self.entries[1].lead) is not None and not lead.alike:
            low, high, classes = lead.interval.low, lead.interval.high, lead.interval.classes
            amount = f": {lead.value:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} over {classes:,} classes"
        if alike:
            return f"The data cannot tell {best.name} and {', '.join(alike)} apart in {metric}{amount}."
        others = self.entries[1].name if len(self.entries) == 2 else "each other one"
        return f"{best.name} is better than {others} in {metric}{amount}."


def build_leaderboard(analyses: Sequence[EvaluationAnalysis]) -> Leaderboard:
    """Compare each model with the one of the highest MAP@R by paired differences. Ties keep their order.

    Models of different images (embeddings files) are sorted and not compared.
    """
    ordered = sorted(analyses, key=lambda analysis: -analysis.evaluation.summary.values[METRIC])
    best = ordered[0].evaluation
    try:
        for analysis in ordered[1:]:
            check_same_set(analysis.evaluation, best)
    except DataError as error:
        return Leaderboard([LeaderboardEntry(analysis, None) for analysis in ordered], str(error))
    classes = best.retrieval.labels[best.retrieval.queries]
    values = [{METRIC: analysis.evaluation.summary.per_query[METRIC]} for analysis in ordered]
    changes = [paired(values[0], own, classes)[METRIC] for own in values[1:]]
    return Leaderboard([LeaderboardEntry(*pair) for pair in zip(ordered, [None, *changes], strict=True)])
