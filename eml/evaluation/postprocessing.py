"""Metrics after post-processing of the rankings: they stand beside those of the model, never in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from eml.evaluation.comparison import differences_of, verdict_on
from eml.evaluation.evaluate import Evaluation, Ranker, rank_gallery
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.whitening import Whitening
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.ranking import rank
from eml.retrieval.reranking import rank_expanded, rank_reciprocal
from eml.retrieval.statistics import Difference, as_pair


@dataclass(frozen=True)
class Postprocessed:
    """The metrics of one way of post-processing.

    Attributes:
        name: The steps, in words.
        steps: Step → its number of neighbours or components.
        uses_test_set: Whether a query's answers depend on the other images of the set.
        summary: The metrics.
        differences: Metric → its value after minus its value before, over the same queries.
    """

    name: str
    steps: dict[str, int]
    uses_test_set: bool
    summary: Summary
    differences: dict[str, Difference]

    def facts(self) -> dict[str, Any]:
        """Return its part of metrics.json."""
        rows = [
            {
                "metric": metric,
                "value": difference.after,
                "difference": difference.value,
                "interval": as_pair(difference.interval),
                "verdict": verdict_on(difference),
            }
            for metric, difference in self.differences.items()
        ]
        return {"name": self.name, "steps": self.steps, "uses_test_set": self.uses_test_set, "rows": rows}


def postprocess(evaluation: Evaluation, options: EvaluationOptions) -> list[Postprocessed]:
    """Measure what the options ask for: whitening, then augmentation, then expansion; re-ranking instead of those two.

    Each step is measured with those before it, so that the table shows what each adds.

    Args:
        evaluation: A model on a set, with its embeddings and its whitening.
        options: `augment_database`, `query_expansion` and `rerank` are read.
    """
    embeddings, white = evaluation.embeddings, dict[str, int]()
    gallery = None if evaluation.gallery_model is None else evaluation.gallery_embeddings
    in_test = False
    if (whitening := evaluation.whitening) is not None:
        embeddings = whitening.pca.transform(embeddings)
        white, in_test = {"whiten": whitening.pca.size}, whitening.shared > 0
    done = []
    for steps, ranker in _ways(white, options):
        rankings = rank_gallery(embeddings, evaluation.retrieval, ranker, gallery_embeddings=gallery)
        summary = summarise(rankings, evaluation.summary.metrics or None)
        classes = evaluation.retrieval.labels[evaluation.retrieval.queries]
        differences = differences_of(evaluation.summary, summary, classes)
        done.append(Postprocessed(_in_words(steps), steps, in_test or steps != white, summary, differences))
    return done


def _ways(white: dict[str, int], options: EvaluationOptions) -> Iterator[tuple[dict[str, int], Ranker]]:
    """Yield the steps of each way to measure, and how it ranks."""
    augment, expand, rerank = options.augment_database or 0, options.query_expansion or 0, options.rerank or 0
    if white:
        yield white, rank
    steps = white
    if augment:
        steps = steps | {"augment_database": augment}
        yield steps, partial(rank_expanded, augment=augment)
    if expand:
        yield steps | {"query_expansion": expand}, partial(rank_expanded, augment=augment, expand=expand)
    if rerank:
        yield white | {"rerank": rerank}, partial(rank_reciprocal, k1=rerank)


COMPARED = ("map_at_r", "recall_at_1")
"""Metrics that tables show; metrics.json has all."""
WORDS = {
    "whiten": "whitened",
    "augment_database": "augmented by {}",
    "query_expansion": "expanded by {}",
    "rerank": "re-ranked by {}",
}
"""Step → how a table calls it."""


def _in_words(steps: dict[str, int]) -> str:
    return ", ".join(WORDS[step].format(number) for step, number in steps.items())


def short_names(ways: Sequence[Postprocessed]) -> list[str]:
    """Return the names for a table, where a way that goes on from the row above says only what it adds."""
    names, above = [], list[str]()
    for way in ways:
        steps = list(way.steps)
        goes_on = len(steps) > 1 and steps[:-1] == above
        names.append(f"then {WORDS[steps[-1]].format(way.steps[steps[-1]])}" if goes_on else way.name)
        above = steps
    return names


def what_it_uses(ways: Sequence[Postprocessed], whitening: Whitening | None) -> list[str]:
    """Return sentences that say which images the post-processed metrics depend on."""
    lines = []
    if ways and {"augment_database", "query_expansion", "rerank"} & {step for way in ways for step in way.steps}:
        lines.append(
            "Augmented, expanded and re-ranked: this uses the test set's own structure. An answer depends on the other "
            "images that are searched, so the values hold for a gallery like this one."
        )
    if whitening is not None:
        shared = f"{whitening.shared:,} of them are in this table, so it uses the test set's own structure too"
        kept = "none of them is in this table, so it does not use the test set's own structure"
        lines.append(
            f"Whitened: learnt from {whitening.images:,} images of {whitening.source}; "
            f"{shared if whitening.shared else kept}."
        )
    return lines
