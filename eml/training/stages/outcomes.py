"""Outcomes that a run can give, and their values on the held-out images, from outputs of networks that are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eml.evaluation.evaluate import rank_gallery
from eml.evaluation.retrieval_set import RetrievalSet
from eml.retrieval.affine import AffineProjection
from eml.retrieval.arrays import Floats, Integers, Labels
from eml.retrieval.metrics import summarise
from eml.retrieval.pca import fit_pca_projection
from eml.retrieval.within_class import WithinClass
from eml.training.stages.features import StageFeatures, rows_to_embed
from eml.training.stages.views import USUAL, View

UNTOUCHED, TUNED = 0.0, 1.0
SHRINKAGES = (0.5, 0.2, 0.1)
"""Of the whitening of tuned embeddings."""
SMALL = 256
PRINCIPAL = f"{SMALL} principal components, power 1/2"


@dataclass(frozen=True)
class Outcome:
    """A network with what is done after it.

    Attributes:
        alpha: The share of the tuned weights, the rest being the untouched ones: 0 untouched, 1 tuned.
        after: The projection of its outputs; "" for none.
        view: How images are embedded.
    """

    alpha: float = UNTOUCHED
    after: str = ""
    view: View = USUAL

    @property
    def text(self) -> str:
        """It in words."""
        network = {UNTOUCHED: "untouched network", TUNED: "fine-tuned network"}.get(
            self.alpha, f"{self.alpha:g} fine-tuned and {1 - self.alpha:.2g} untouched weights"
        )
        after = f", whitened within classes ({self.after})" if self.after.startswith("shrinkage") else ""
        after = after or (f", {self.after}" if self.after else "")
        return ", ".join(part for part in (network + after, self.view.text) if part)


class OutcomeMeasure:
    """Measures outcomes on the held-out images.

    Args:
        images: The validation set that decides.
        metric: By which outcomes are compared.
        features: Share of the tuned weights → outputs of that network.
        distractors: Training images that are also in the gallery, at most, where none of their classes is held out: a
            gallery in use has more classes than those that are held out. Not in other views, which take as long to
            embed: what these change is measured without them.
        offsets: Part of the division of classes → (Q,) what its own choice of the epoch changes; zero by default.
    """

    def __init__(
        self,
        images: RetrievalSet,
        metric: str,
        features: Mapping[float, StageFeatures],
        offsets: Callable[[int], Floats] = lambda part: np.zeros(1),
        *,
        distractors: int = 0,
    ) -> None:
        self.images, self.metric = images, metric
        labels = next(iter(features.values())).labels
        self.rows = rows_to_embed(labels, distractors) if distractors else np.zeros(0, np.int64)
        self.gallery = with_distractors(images, labels[self.rows])
        self.features = features
        self.offsets = offsets
        self._within: dict[float, WithinClass | None] = {}
        self._projections: dict[tuple[float, str], AffineProjection | None] = {}
        self._values: dict[Outcome, dict[str, Floats]] = {}

    def __call__(self, outcome: Outcome, part: int | None) -> Floats:
        """Return the (Q,) values of an outcome, as a part of the division chooses its epoch, or as it is shipped."""
        values: Floats = self.per_query(outcome)[self.metric]
        return values if part is None or outcome.alpha == UNTOUCHED else values + self.offsets(part)

    def per_query(self, outcome: Outcome) -> dict[str, Floats]:
        """Return metric → (Q,) values of an outcome as it is shipped."""
        if outcome not in self._values:
            self._values[outcome] = self._measure(outcome)
        return self._values[outcome]

    def _measure(self, outcome: Outcome) -> dict[str, Floats]:
        """Return metric → (Q,) values; what another view changes is measured among the held-out images alone."""
        if not len(self.rows):
            return self._alone(outcome)
        features, projection = self.features[outcome.alpha], self.projection(outcome)
        if outcome.view == USUAL:
            embeddings = features.embeddings(projection)
            both = torch.cat([embeddings, features.distractors(self.rows, projection)])
            return dict(summarise(rank_gallery(both, self.gallery)).per_query)
        usual = replace(outcome, view=USUAL)
        in_gallery, alone, seen = self.per_query(usual), self._alone(usual), self._alone(outcome)
        return {name: np.clip(in_gallery[name] + seen[name] - alone[name], 0, 1) for name in in_gallery}

    def _alone(self, outcome: Outcome) -> dict[str, Floats]:
        """Return metric → (Q,) values in a gallery of the held-out images alone."""
        embeddings = self.features[outcome.alpha].embeddings(self.projection(outcome), outcome.view)
        return dict(summarise(rank_gallery(embeddings, self.images)).per_query)

    @property
    def views(self) -> list[View]:
        """The ways to embed that can be tried besides the usual one, the quickest first."""
        return [view for view in next(iter(self.features.values())).views if view != USUAL]

    def projections(self, alpha: float) -> list[str]:
        """Return the projections of a tuned network's outputs that can be tried, simplest first."""
        size = self.features[alpha].train.shape[1]
        names = [f"shrinkage {value:g}" for value in SHRINKAGES] if self.within(alpha) is not None else []
        return [*names, *([PRINCIPAL] if size > SMALL and len(self.features[alpha].train) > 2 * SMALL else [])]

    def within(self, alpha: float) -> WithinClass | None:
        """Return the variances within classes of a network's outputs; None where none can be learnt."""
        if alpha not in self._within:
            features = self.features[alpha]
            self._within[alpha] = WithinClass.or_none(features.train, features.labels)
        return self._within[alpha]

    def projection(self, outcome: Outcome) -> AffineProjection | None:
        """Return the projection of an outcome, learnt on the training images; None where it has none."""
        key = outcome.alpha, outcome.after
        if key not in self._projections:
            self._projections[key] = self._fit(outcome) if outcome.after else None
        return self._projections[key]

    def _fit(self, outcome: Outcome) -> AffineProjection:
        features = self.features[outcome.alpha]
        return fit_projection(features.train, features.labels, outcome.after, self.within(outcome.alpha))


def with_distractors(images: RetrievalSet, labels: Integers) -> RetrievalSet:
    """Return a set with images of other classes in its gallery, after its own, which no query is of.

    Args:
        images: The set.
        labels: (n,) classes of the other images.
    """
    if not len(labels):
        return images
    count = len(images.frame)
    frame = pd.concat([images.frame[["label"]], pd.DataFrame({"label": [""] * len(labels)})], ignore_index=True)
    none = np.full(len(labels), -1)
    return replace(
        images,
        frame=frame,
        labels=np.concatenate([images.labels, labels + images.labels.max() + 1]),
        gallery=np.concatenate([images.gallery, count + np.arange(len(labels))]),
        groups=None if images.groups is None else np.concatenate([images.groups, none]),
        unknown=None if images.unknown is None else np.concatenate([images.unknown, none > 0]),
        rows=None,
    )


class PooledMeasure:
    """Measures outcomes on the held-out images of several folds, each by the networks that were trained without it."""

    def __init__(self, measures: Sequence[OutcomeMeasure]) -> None:
        self.measures = measures
        self.metric = measures[0].metric

    def __call__(self, outcome: Outcome, part: int | None) -> Floats:
        """Return the values of an outcome for the queries of all folds; no part chooses an epoch of its own."""
        return self.per_query(outcome)[self.metric]

    def per_query(self, outcome: Outcome) -> dict[str, Floats]:
        """Return metric → values for the queries of all folds."""
        values = [measure.per_query(outcome) for measure in self.measures]
        return {name: np.concatenate([own[name] for own in values]) for name in values[0]}

    @property
    def views(self) -> list[View]:
        """The ways to embed that can be tried besides the usual one."""
        return self.measures[0].views

    def projections(self, alpha: float) -> list[str]:
        """Return the projections that can be tried in all folds."""
        first, *others = (measure.projections(alpha) for measure in self.measures)
        return [name for name in first if all(name in own for own in others)]


def fit_projection(train: Tensor, labels: Labels, name: str, within: WithinClass | None = None) -> AffineProjection:
    """Return the projection of a name.

    Args:
        train: (n, D) outputs for training images.
        labels: (n,) their classes.
        name: As `Outcome.after`.
        within: Their variances within classes, where they are known already.
    """
    if name == PRINCIPAL:
        return fit_pca_projection(train, SMALL, power=0.5)
    return (within or WithinClass.of(train, labels)).projection(float(name.removeprefix("shrinkage ")))


def tuned_variants(names: list[str]) -> dict[str, Callable[[Outcome], Outcome]]:
    """Return candidate → change to the tuned network with a projection."""
    return {f"whitened, {name}" if name.startswith("shrinkage") else name: _with(name) for name in names}


def _with(name: str) -> Callable[[Outcome], Outcome]:
    return lambda outcome: replace(outcome, alpha=TUNED, after=name)
