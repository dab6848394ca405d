"""Choose what a run gives: stage after stage, on the held-out classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from eml.images.image_size import Size
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.statistics.choice import ClassDivision
from eml.training.run_folder import Line
from eml.training.stages.closed_form import ClosedForm
from eml.training.stages.outcomes import TUNED, Outcome, tuned_variants
from eml.training.stages.steps import StageJudge, StagesResult
from eml.training.stages.views import View
from eml.training.verdict import Verdict, verdict


class Measure(Protocol):
    """Measures outcomes on held-out images, see `OutcomeMeasure` and `PooledMeasure`."""

    metric: str

    def __call__(self, outcome: Outcome, part: int | None) -> Floats:
        """Return (Q,) values of the main metric."""

    def per_query(self, outcome: Outcome) -> dict[str, Floats]:
        """Return metric → (Q,) values."""

    @property
    def views(self) -> list[View]:
        """The ways to embed that can be tried besides the usual one."""

    def projections(self, alpha: float) -> list[str]:
        """Return the projections of a tuned network's outputs that can be tried."""


@dataclass(frozen=True)
class StagedOutcome:
    """The end of a run in stages.

    Attributes:
        result: The stages.
        before: Metric → value of the untouched network on the judging classes.
        after: The same of what the run gives.
        values: (Q,) values per query of both, on the judging classes; NaN for the other queries.
        labels: (Q,) classes of the queries.
        outcome: What the run gives.
        epoch: The epoch of the tuned network.
    """

    result: StagesResult
    before: dict[str, float]
    after: dict[str, float]
    values: tuple[Floats, Floats]
    labels: Integers
    outcome: Outcome
    epoch: int

    def values_beside(self, line: Line | None, name: str, *, after: bool = False) -> Line | None:
        """Return a validation's line with the values of the judging classes for the set of a name that decides.

        Args:
            line: Of the untouched network, or of the best epoch.
            name: Of the set that decides; "" for the held-out fold.
            after: Whether the values are of what the run gives.
        """
        prefix = f"{name}/" if name else ""
        own = {prefix + key: value for key, value in (self.after if after else self.before).items()}
        others = {} if line is None else {key: value for key, value in line.items() if key.rpartition("/")[0] != name}
        steps = {} if line is None else {key: line[key] for key in ("epoch", "step")}
        return steps | own | others

    def verdict(self, question: str, start: str) -> Verdict | None:
        """Return whether what the run gives is better than the untouched network, by the classes that judge.

        Where these cannot tell and the stage that is kept was judged by more, it says so.
        """
        shown, comparisons = self.result.metric, self.result.comparisons
        own = verdict(shown, *self.values, self.labels, question, start, comparisons=comparisons)
        kept = [step for step in self.result.steps if step.kept]
        if own is None or len(kept) != 1 or kept[0].classes <= own.classes:
            return own
        step = kept[0]
        return replace(
            own,
            more=f"These {own.classes} classes alone cannot tell, since the interval includes 0; over {step.classes}, "
            f"each held out once, the {step.name} gains {step.low:+.4f} to {step.high:+.4f}",
        )


@dataclass(frozen=True)
class Candidates:
    """The candidates of the stages.

    Attributes:
        shown: The name of the metric in tables.
        names: (Q,) names of the queries' classes.
        closed: Closed forms, simplest first; where one was chosen before, that alone.
        chosen: The one that was chosen by training classes, if there is one.
        epoch: Of the tuned network; 0 without one.
        means: Shares of the tuned weights to try.
        size: Of the images in training (pixels).
    """

    shown: str
    names: Sequence[str]
    closed: Sequence[str]
    chosen: ClosedForm | None
    epoch: int
    means: Sequence[float] = ()
    size: Size = 1


def choose_outcome(division: ClassDivision, measure: Measure, candidates: Candidates) -> StagedOutcome:
    """Take the stages greedily in their order, and return what the run gives."""
    own = candidates.chosen.judged if candidates.chosen else None
    counted = bool(candidates.closed) and own is None
    comparisons = sum([counted, candidates.epoch > 0, bool(candidates.means), bool(measure.views)])
    judge = StageJudge(division, measure, Outcome(), comparisons)
    untouched, value = judge.judged, judge.value
    if candidates.closed:
        note = "" if own is None else "its interval is over all classes, each held out once"
        variants = {name: _closed(name) for name in candidates.closed}
        judge.stage("closed form", variants, judged=own, note=note, optional=False)
    if candidates.epoch:  # whitening is chosen with it: its own gain is below the interval of few classes
        plain: dict[str, Callable[[Outcome], Outcome]] = {f"epoch {candidates.epoch}": lambda before: Outcome(TUNED)}
        variants = tuned_variants(measure.projections(TUNED)) | plain  # never worse (docs/benchmarks_recipe.md)
        judge.stage("fine-tuned", variants, optional=False, prefers_first=True)
    if candidates.means and judge.shipped.alpha == TUNED:
        judge.stage("mean weights", {f"{alpha:g} fine-tuned": _mixed(alpha) for alpha in candidates.means})
    if measure.views:
        seen = {view.text: _seen(view) for view in measure.views}
        judge.stage(_stage_of(measure.views), seen, note=_cost_of(measure.views, candidates.size))
    mask = division.judging if division.parts else division.choosing
    result = _result(judge, value, candidates)
    before, after = (_means(measure.per_query(outcome), mask) for outcome in (Outcome(), judge.shipped))
    after |= {measure.metric: result.value}
    values = untouched, judge.judged
    return StagedOutcome(result, before, after, values, division.labels, judge.shipped, candidates.epoch)


def _result(judge: StageJudge[Outcome], untouched: float, candidates: Candidates) -> StagesResult:
    division, names = judge.division, np.array(candidates.names, object)
    choosing, judging = (
        tuple(sorted({str(name) for name in names[mask]})) for mask in (division.choosing, division.judging)
    )
    return StagesResult(
        metric=candidates.shown,
        steps=tuple(judge.steps),
        untouched=untouched,
        shipped=judge.shipped.text,
        value=judge.value,
        division=division.text,
        comparisons=judge.comparisons,
        choosing=choosing,
        judging=judging,
    )


def _closed(name: str) -> Callable[[Outcome], Outcome]:
    return lambda before: Outcome(after=name)


def _mixed(alpha: float) -> Callable[[Outcome], Outcome]:
    return lambda outcome: replace(outcome, alpha=alpha)


def _seen(view: View) -> Callable[[Outcome], Outcome]:
    return lambda outcome: replace(outcome, view=view)


def _stage_of(views: Sequence[View]) -> str:
    """Return the name of the stage that tries these ways to embed."""
    return "mirror image" if [view.text for view in views] == [View(tta="flip").text] else "views and size"


def _cost_of(views: Sequence[View], size: Size) -> str:
    """Return how much longer it takes to embed."""
    if len(views) == 1:
        return f"it takes {views[0].cost(size):.3g} times as long to embed"
    costs = "; ".join(f"{view.text} {view.cost(size):.3g} times" for view in views)
    return f"they take longer to embed: {costs} as long"


def _means(values: dict[str, Floats], mask: Booleans) -> dict[str, float]:
    """Return the means of all metrics over some queries."""
    return {name: float(np.nanmean(own[mask])) for name, own in values.items()}
