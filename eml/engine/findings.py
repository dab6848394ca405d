"""What is known of one model on one set, with how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eml.dataset.scan import Progress
from eml.engine.comparison import Comparison, compare
from eml.engine.evaluation import Evaluation
from eml.engine.slices import Slices, slices_of
from eml.engine.uncertainty import as_pair, intervals_of_summary
from eml.retrieval.bootstrap import CONFIDENCE, Interval


@dataclass(frozen=True)
class Findings:
    """intervals: {metric: over classes}. comparison: with another model, where one was given."""

    evaluation: Evaluation
    intervals: dict[str, Interval]
    slices: Slices
    comparison: Comparison | None

    def facts(self) -> dict[str, Any]:
        """What metrics.json says."""
        return {
            **self.evaluation.facts(),
            "confidence": CONFIDENCE,
            "intervals": {name: as_pair(each) for name, each in self.intervals.items()},
            "few_classes": any(each.few for each in self.intervals.values()),
            **self.slices.facts(),
            "comparison": self.comparison.facts() if self.comparison else None,
        }


def findings_of(
    evaluation: Evaluation,
    *,
    columns: Sequence[str] = (),
    against: Evaluation | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Intervals, slices (by `columns` too) and the comparison of an evaluation.

    Raises DataError for a column that the table does not have, and where `against` is of other pictures.
    """
    wanted, summary = evaluation.wanted, evaluation.summary
    comparison = None if against is None else compare(evaluation, against)
    return Findings(
        evaluation,
        intervals_of_summary(summary, wanted.labels[wanted.queries]),
        slices_of(evaluation.table, wanted, summary, columns, progress=progress),
        comparison,
    )
