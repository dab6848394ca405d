"""Cross-model retrieval: queries by one model on the gallery of another, as of a new model on an old index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from eml.errors import CheckpointError, DataError
from eml.evaluation.comparison import BETTER, WORSE, check_same_set, differences_of, verdict_on
from eml.evaluation.evaluate import Evaluation, rank_gallery
from eml.models.checkpoint import read_checkpoint_config
from eml.retrieval.metrics import metrics_at, summarise
from eml.retrieval.similarity import unit_length
from eml.retrieval.statistics import Difference, as_pair
from eml.retrieval.verification import measure_acceptance
from eml.retrieval.worst_classes import METRIC

UNRELATED = 0.1
"""Below this mean cosine of an image's two embeddings, two models have nothing in common but the size."""


@dataclass(frozen=True)
class CrossModel:
    """Two models on one set: each alone, and the queries of the one on the gallery of the other.

    Attributes:
        shown: Metric → its name in tables.
        old: Metric → its value by the gallery's model alone.
        crossed: Metric → its value with the queries of the new model on that gallery.
        new: Metric → its value by the new model alone, that is, after the gallery is embedded again.
        change: Metric → crossed minus old: what new queries bring at once.
        rest: Metric → new minus crossed: what embedding the gallery again would bring beyond that.
        mean_cosine: Of an image's embedding by the one model and by the other.
        old_acceptance: What the gallery model's threshold accepts by that model alone; empty without a calibration.
    """

    shown: dict[str, str]
    old: dict[str, float]
    crossed: dict[str, float]
    new: dict[str, float]
    change: dict[str, Difference]
    rest: dict[str, Difference]
    mean_cosine: float
    old_acceptance: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Whether new queries on the old gallery are better than the old model alone, by MAP@R: see `verdict_on`."""
        return verdict_on(self.change[METRIC])

    def lines(self, name: str, gallery: str) -> list[str]:
        """Return sentences that say what the gallery of one model is worth to the queries of another.

        Args:
            name: The model of the queries.
            gallery: The model of the gallery.
        """
        lines = []
        if abs(self.mean_cosine) < UNRELATED:
            lines.append(
                f"{name} and {gallery} embed into unrelated spaces: an image's two embeddings have a mean cosine of "
                f"{self.mean_cosine:.3f}. Build the index again with {name}, or take a model whose checkpoint declares "
                f"that it fits this gallery: it is trained with compatible_with: {gallery}, best from its weights "
                "(model.weights), and declares it in the end where it holds. Where this one was trained so and does "
                "not, train it for longer, or with a larger compatible_with.cosine."
            )
        elif self.verdict == WORSE:
            lines.append(f"An index of {gallery} is worse with the queries of {name}: build it again with {name}.")
        else:
            gain = "improves" if self.verdict == BETTER else "is no worse, as far as the data can tell,"
            lines.append(f"An index of {gallery} {gain} with the queries of {name}, without being built again.")
        rest = self.rest[METRIC]
        if not rest.alike:
            lines.append(
                f"Built again with {name}, its {self.shown[METRIC]} changes by {rest.value:+.4f}, 95 % interval "
                f"{rest.interval.low:+.4f} to {rest.interval.high:+.4f}."
            )
        return lines

    def facts(self) -> dict[str, Any]:
        """Return its part of metrics.json."""
        rows = [
            {
                "metric": metric,
                "name": text,
                "gallery_model_alone": self.old[metric],
                "crossed": self.crossed[metric],
                "alone": self.new[metric],
                "change": self.change[metric].value,
                "change_interval": as_pair(self.change[metric].interval),
                "change_verdict": verdict_on(self.change[metric]),
                "rest": self.rest[metric].value,
                "rest_interval": as_pair(self.rest[metric].interval),
                "rest_verdict": verdict_on(self.rest[metric]),
            }
            for metric, text in self.shown.items()
        ]
        old = {"gallery_model_acceptance": self.old_acceptance} if self.old_acceptance else {}
        return {"verdict": self.verdict, "mean_cosine": self.mean_cosine, "rows": rows, **old}


def on_gallery_of(evaluation: Evaluation, gallery_model: Evaluation, recall_at: Sequence[int] = ()) -> Evaluation:
    """Return an evaluation of a model's queries on the gallery of another model.

    Args:
        evaluation: The model of the queries alone on a set, with its embeddings.
        gallery_model: The model of the gallery alone on the same set, with its embeddings.
        recall_at: The Ks of R@K; none for the usual ones.

    Raises:
        DataError: They are of different sets, or their embeddings are of two sizes.
    """
    check_same_set(evaluation, gallery_model)
    refuse_other_size(evaluation.name, evaluation.size, gallery_model.name, gallery_model.size)
    crossed = summarise(
        rank_gallery(evaluation.embeddings, evaluation.retrieval, gallery_embeddings=gallery_model.embeddings),
        metrics_at(recall_at),
    )
    return replace(
        evaluation,
        summary=crossed,
        alone=evaluation.summary,
        gallery_model=gallery_model,
        calibration=gallery_model.calibration,
        calibration_mismatch=gallery_model.calibration_mismatch,
    )


def refuse_other_size(name: str, size: int, gallery: str, gallery_size: int) -> None:
    """Raise a DataError unless the embeddings of two models have one size."""
    if size == gallery_size:
        return
    text = (
        f"{name} embeds into {size:,} numbers and {gallery}, whose gallery it is, into {gallery_size:,}: they cannot "
    )
    text += f"be compared. Train it with compatible_with: {gallery}, and a model.neck of size {gallery_size}"
    raise DataError(text, code="wrong-shape", parameter="gallery_model")


def refuse_other_sizes(names: Sequence[str], gallery: str) -> None:
    """Raise a DataError for a checkpoint that says that its embeddings are of another size than the gallery's.

    Models that say nothing before they are loaded are compared once they are.

    Args:
        names: The models of the queries.
        gallery: The model of the gallery.
    """
    size = _recorded_size(gallery)
    for name in names if size is not None else ():
        own = _recorded_size(name)
        if own is not None and size is not None:
            refuse_other_size(name, own, gallery, size)


def _recorded_size(name: str) -> int | None:
    """Return the embedding size that a checkpoint records; None for any other model."""
    try:
        return read_checkpoint_config(Path(name)).size
    except CheckpointError:
        return None  # it is no checkpoint, or loading it says what is wrong


def measure_cross_model(evaluation: Evaluation) -> CrossModel | None:
    """Return what the two models of an evaluation do alone and together; None where there is one model."""
    old, alone = evaluation.gallery_model, evaluation.alone
    if old is None or alone is None:
        return None
    retrieval = evaluation.retrieval
    classes, crossed = retrieval.labels[retrieval.queries], evaluation.summary
    acceptance = {} if old.threshold is None else measure_acceptance(retrieval.open_set(old.embeddings), old.threshold)
    return CrossModel(
        shown=crossed.shown,
        old=old.summary.values,
        crossed=crossed.values,
        new=alone.values,
        change=differences_of(old.summary, crossed, classes),
        rest=differences_of(crossed, alone, classes),
        mean_cosine=mean_cosine(evaluation.embeddings, old.embeddings),
        old_acceptance=acceptance,
    )


def mean_cosine(first: Tensor, second: Tensor) -> float:
    """Return the mean cosine of the rows of two matrices (N, D)."""
    return float((unit_length(first) * unit_length(second)).sum(1).double().mean())
