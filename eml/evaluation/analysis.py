"""What is known of one model on one set, with how sure that is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.evaluation.comparison import Comparison, compare
from eml.evaluation.evaluate import Evaluation
from eml.evaluation.slices import Partition, Slices, partition, sliced_by
from eml.progress import Progress
from eml.retrieval.clustering import clustering
from eml.retrieval.similarity import unit_length
from eml.retrieval.statistics import CONFIDENCE, Interval, as_pair, intervals_of_summary
from eml.retrieval.verification import (
    OpenSet,
    all_pairs,
    curve,
    measure_acceptance,
    read_pairs,
    verification_metrics,
    verify_listed_pairs,
)


@dataclass(frozen=True)
class Wanted:
    """What is to be found beyond the metrics. columns: to slice by. verification: by all pairs; pairs: by a file's."""

    columns: tuple[str, ...] = ()
    verification: bool = False
    pairs: Path | None = None
    clustering: bool = False


NOTHING = Wanted()


@dataclass(frozen=True)
class EvaluationAnalysis:
    """intervals: {metric: over classes}. comparison: with another model, where one was given.

    verification, roc, clustering: {} where not asked for. acceptance: by the checkpoint's threshold, {} without one.
    """

    evaluation: Evaluation
    intervals: dict[str, Interval]
    slices: Slices
    comparison: Comparison | None
    verification: dict[str, float]
    roc: dict[str, list[float]]
    clustering: dict[str, float]
    acceptance: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """What metrics.json says."""
        return {
            **self.evaluation.facts(),
            "confidence": CONFIDENCE,
            "intervals": {name: as_pair(each) for name, each in self.intervals.items()},
            "few_classes": any(each.few for each in self.intervals.values()),
            **self.slices.facts(),
            "comparison": self.comparison.facts() if self.comparison else None,
            "verification": self.verification or None,
            "clustering": self.clustering or None,
            "acceptance": self.acceptance or None,
            "calibrated_on_this_table": self.evaluation.calibrated_here,
        }


def analyze(
    evaluation: Evaluation,
    wanted: Wanted = NOTHING,
    *,
    against: Evaluation | None = None,
    parts: Partition | None = None,
    progress: Progress | None = None,
) -> EvaluationAnalysis:
    """Intervals, slices and the comparison of an evaluation, and what else is wanted.

    parts: of the set by the wanted columns, where it was made for another model before.
    Raises DataError for a column that the table does not have, where `against` is of other images, and for pairs of
    unknown images.
    """
    of, summary, embeddings = evaluation.wanted, evaluation.summary, evaluation.embeddings
    parts = parts or partition(evaluation.table, of, wanted.columns, progress=progress)
    verified, roc = _verification(evaluation, wanted)
    return EvaluationAnalysis(
        evaluation,
        intervals_of_summary(summary, of.labels[of.queries]),
        sliced_by(parts, of, summary),
        None if against is None else compare(evaluation, against),
        verified,
        roc,
        clustering(unit_length(embeddings).numpy(), of.labels) if wanted.clustering else {},
        _acceptance(evaluation),
    )


def _verification(evaluation: Evaluation, wanted: Wanted) -> tuple[dict[str, float], dict[str, list[float]]]:
    embeddings, of = evaluation.embeddings, evaluation.wanted
    if wanted.pairs is not None:
        pairs = read_pairs(wanted.pairs, of.frame["file_name"].tolist(), evaluation.table.root)
        values, accepted = verify_listed_pairs(embeddings, pairs)
        return values, curve(accepted)
    if wanted.verification:
        accepted = all_pairs(embeddings, of.labels)
        return verification_metrics(accepted), curve(accepted)
    return {}, {}


def _acceptance(evaluation: Evaluation) -> dict[str, Any]:
    if evaluation.threshold is None:
        return {}
    of = evaluation.wanted
    data = OpenSet(evaluation.embeddings, of.labels, of.queries, of.gallery, of.groups, of.within)
    return measure_acceptance(data, evaluation.threshold)
