"""Intervals, slices, comparison, verification, clustering and acceptance of an evaluation."""

from dataclasses import dataclass, field, replace
from typing import Any

from eml.evaluation.comparison import ModelComparison, compare
from eml.evaluation.cross_model import CrossModel, measure_cross_model
from eml.evaluation.evaluate import Evaluation
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.postprocessing import Postprocessed, postprocess
from eml.evaluation.slices import Partition, Slices, measure_slices, partition
from eml.evaluation.texts.measures import TextMeasures, measure_texts
from eml.progress import Progress
from eml.retrieval.clustering import clustering
from eml.retrieval.similarity import unit_length
from eml.retrieval.statistics import CONFIDENCE, Interval, as_pair, intervals_of_summary
from eml.retrieval.verification import (
    all_crossed_pairs,
    all_pairs,
    curve,
    is_template_pairs,
    measure_acceptance,
    read_pairs,
    verification_metrics,
    verify_listed_pairs,
    verify_templates,
)


@dataclass(frozen=True)
class EvaluationAnalysis:
    """An evaluation and all that is derived from it. What was not computed is empty.

    Attributes:
        evaluation: The metrics and the embeddings.
        intervals: Metric → its interval over classes.
        slices: Metrics by kind of query, and the worst classes.
        comparison: The comparison with another model.
        verification: Rates over pairs of images, such as auc.
        roc: The curve of the verification: false_accept_rate and true_accept_rate, of equal lengths.
        clustering: nmi and ami of k-means.
        acceptance: Rates at the checkpoint's calibrated threshold.
        postprocessed: Metrics after post-processing of the rankings, beside those of the evaluation.
        text: What was measured with texts.
        cross_model: The two models alone and together, where the gallery is another's.
    """

    evaluation: Evaluation
    intervals: dict[str, Interval] = field(default_factory=dict)
    slices: Slices = field(default_factory=Slices)
    comparison: ModelComparison | None = None
    verification: dict[str, float] = field(default_factory=dict)
    roc: dict[str, list[float]] = field(default_factory=dict)
    clustering: dict[str, float] = field(default_factory=dict)
    acceptance: dict[str, Any] = field(default_factory=dict)
    postprocessed: list[Postprocessed] = field(default_factory=list)
    text: TextMeasures | None = None
    cross_model: CrossModel | None = None

    @property
    def few_classes(self) -> bool:
        """Whether the classes are too few to trust the intervals."""
        return any(interval.few for interval in self.intervals.values())

    def without_embeddings(self) -> "EvaluationAnalysis":
        """Return a copy without the embeddings, which take most of the memory."""
        text = self.text and self.text.without_vectors()
        return replace(self, evaluation=self.evaluation.without_embeddings(), text=text)

    def facts(self) -> dict[str, Any]:
        """Return the content of metrics.json, but for the table's name and the leaderboard."""
        return {
            **self.evaluation.facts(),
            "confidence": CONFIDENCE,
            "intervals": {name: as_pair(interval) for name, interval in self.intervals.items()},
            "few_classes": self.few_classes,
            **self.slices.facts(),
            "comparison": self.comparison.facts() if self.comparison else None,
            "verification": self.verification or None,
            "clustering": self.clustering or None,
            "acceptance": self.acceptance or None,
            **self._postprocessing_facts(),
            **({"text": self.text.facts()} if self.text else {}),
            **({"cross_model": self.cross_model.facts()} if self.cross_model else {}),
            "calibrated_on_this_table": self.evaluation.is_calibrated_here,
            "threshold_trained_on": self.evaluation.calibrated_on.facts() if self.evaluation.calibration else None,
        }

    def _postprocessing_facts(self) -> dict[str, Any]:
        """Return what was measured after post-processing, and where its whitening is from; nothing without any."""
        if not self.postprocessed:
            return {}
        whitening = self.evaluation.whitening
        return {
            "postprocessing": [way.facts() for way in self.postprocessed],
            "whitening": whitening.facts() if whitening else None,
        }


def analyze(
    evaluation: Evaluation,
    options: EvaluationOptions | None = None,
    *,
    against: Evaluation | None = None,
    division: Partition | None = None,
    progress: Progress | None = None,
) -> EvaluationAnalysis:
    """Compute the intervals, slices and comparison of an evaluation, and what else the options ask for.

    Args:
        evaluation: A model on a set, with its embeddings.
        options: `slices`, `pairs`, `verification`, `clustering` and those of post-processing are read.
        against: An evaluation of another model on the same set, to compare with; by default that of the gallery,
            where it is another one.
        division: The partition of the set's queries, if another model has been analysed on the set before.
        progress: Reports the search for near-duplicates.

    Raises:
        DataError: The table lacks a column, `against` is of other images, or a pair names an unknown image.
    """
    options = options or EvaluationOptions()
    retrieval, summary = evaluation.retrieval, evaluation.summary
    against = against or evaluation.gallery_model
    division = division or partition(evaluation.table, retrieval, options.slices, progress=progress)
    rates, roc = _verify(evaluation, options)
    return EvaluationAnalysis(
        evaluation,
        intervals=intervals_of_summary(summary, retrieval.labels[retrieval.queries]),
        slices=measure_slices(division, retrieval, summary),
        comparison=None if against is None else compare(evaluation, against),
        verification=rates,
        roc=roc,
        clustering=_cluster(evaluation) if options.clustering else {},
        acceptance=_accept(evaluation),
        postprocessed=postprocess(evaluation, options),
        text=measure_texts(evaluation, options.recall_at, options.queries),
        cross_model=measure_cross_model(evaluation),
    )


def _verify(evaluation: Evaluation, options: EvaluationOptions) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the rates of the verification and its curve, by the pairs of a file or by all pairs.

    Where the gallery is another model's, the second image of a pair is embedded by that model.
    """
    embeddings, retrieval = evaluation.embeddings, evaluation.retrieval
    second = None if evaluation.gallery_model is None else evaluation.gallery_embeddings
    if options.pairs is not None and is_template_pairs(options.pairs):
        rates, accepted = verify_templates(embeddings, retrieval.frame, options.pairs, second)
        return rates, curve(accepted)
    if options.pairs is not None:
        pairs = read_pairs(options.pairs, retrieval.frame["file_name"].tolist(), evaluation.table.root)
        rates, accepted = verify_listed_pairs(embeddings, pairs, second)
        return rates, curve(accepted)
    if options.verification:
        known, labels = retrieval.known, retrieval.labels[retrieval.known]
        if second is None:
            accepted = all_pairs(embeddings[known], labels)
        else:
            accepted = all_crossed_pairs(embeddings[known], second[known], labels)
        return verification_metrics(accepted), curve(accepted)
    return {}, {}


def _accept(evaluation: Evaluation) -> dict[str, Any]:
    """Return the rates at the calibrated threshold, none without one."""
    if evaluation.threshold is None:
        return {}
    gallery = None if evaluation.gallery_model is None else evaluation.gallery_embeddings
    return measure_acceptance(evaluation.retrieval.open_set(evaluation.embeddings, gallery), evaluation.threshold)


def _cluster(evaluation: Evaluation) -> dict[str, float]:
    """Return the agreement of k-means with the classes, of the images of known identity."""
    known = evaluation.retrieval.known
    return clustering(unit_length(evaluation.embeddings[known]).cpu().numpy(), evaluation.retrieval.labels[known])
