"""Stages of a run one after another: each is chosen by some held-out classes and kept if others judge it better."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from eml.retrieval.arrays import Floats
from eml.retrieval.statistics import CONFIDENCE, Difference
from eml.retrieval.statistics.choice import ClassDivision, best_of, judge, preferred

S = TypeVar("S")

AS_BEFORE = "as before"
"""The candidate of each stage that changes nothing."""


@dataclass(frozen=True)
class StageStep:
    """One stage: what was tried, what was chosen, and whether it is kept.

    Attributes:
        name: Of the stage, such as `closed form`.
        chosen: The candidate that the choosing classes chose; `as before` for none.
        tried: Candidate → mean over the choosing classes.
        before: Mean over the judging classes of the stage before.
        value: The same of what was chosen.
        low: Lower end of the interval of value − before, widened for all comparisons on these classes.
        high: Upper end.
        classes: Number of classes that the interval rests on.
        kept: Whether the interval lies above 0.
        note: What else is to be said, such as the cost in time.
    """

    name: str
    chosen: str
    tried: dict[str, float]
    before: float
    value: float
    low: float
    high: float
    classes: int
    kept: bool
    note: str = ""

    @property
    def difference(self) -> float:
        """value − before."""
        return self.value - self.before

    @property
    def row(self) -> list[str]:
        """Its row in the table of stages; without figures where nothing is chosen, since nothing changes then."""
        if self.chosen == AS_BEFORE:
            return [self.name, self.chosen, "", "", "", "no"]
        numbers = [_number(self.value, "{:.4f}"), _number(self.difference, "{:+.4f}")]
        interval = f"{self.low:+.4f} to {self.high:+.4f}" if math.isfinite(self.low) else ""
        return [self.name, self.chosen, *numbers, interval, "yes" if self.kept else "no"]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON, null for NaN."""
        facts = asdict(self) | {"difference": self.difference}
        return {name: _finite(value) for name, value in facts.items()} | {
            "tried": {name: _finite(value) for name, value in self.tried.items()}
        }


@dataclass(frozen=True)
class StagesResult:
    """The stages of a run, and what it gives in the end.

    Attributes:
        metric: By which stages are compared, as tables name it.
        steps: The stages after the untouched network.
        untouched: The untouched network's mean over the judging classes.
        shipped: What the run gives, in words.
        value: Its mean over the judging classes.
        division: How the held-out classes choose and judge, in words.
        comparisons: For how many comparisons intervals are widened.
        choosing: Names of the classes that choose.
        judging: Names of the classes that judge.
        refit: What was trained on all classes in the end; "" for nothing.
    """

    metric: str
    steps: tuple[StageStep, ...]
    untouched: float
    shipped: str
    value: float
    division: str
    comparisons: int
    choosing: tuple[str, ...] = ()
    judging: tuple[str, ...] = ()
    refit: str = ""

    @property
    def columns(self) -> list[str]:
        """The head of the table of stages."""
        return ["stage", "chosen", self.metric, "change", f"{CONFIDENCE:.0%} interval", "kept"]

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the table of stages."""
        first = ["untouched", "", _number(self.untouched, "{:.4f}"), "", "", ""]
        return [first, *(step.row for step in self.steps)]

    @property
    def explanation(self) -> str:
        """How the table is to be read."""
        lines = [
            f"Each stage is compared with what was kept before it, by classes that did not choose it ({self.division})",
            *(f"{step.name}: {step.note}" for step in self.steps if step.note),
        ]
        if self.comparisons > 1:
            lines.append(f"Intervals are widened for {self.comparisons} comparisons")
        return ". ".join(line[0].upper() + line[1:] for line in lines)

    @property
    def conclusion(self) -> str:
        """Why the run gives the untouched network; empty where it gives another."""
        if any(step.kept for step in self.steps):
            return ""
        return (
            "No stage is better than the untouched network by more than chance on held-out images: the run gives the "
            "untouched network"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        facts = asdict(self) | {"steps": [step.to_dict() for step in self.steps]}
        facts |= {name: _finite(facts[name]) for name in ("untouched", "value")}
        return facts | {"choosing": list(self.choosing), "judging": list(self.judging)}

    @classmethod
    def of_dict(cls, facts: Mapping[str, Any]) -> "StagesResult | None":
        """Return the stages that run.json records; None where it records none that can be read."""
        try:
            steps = tuple(_read(StageStep, step) for step in facts["steps"])
            names = {name: tuple(facts.get(name, ())) for name in ("choosing", "judging")}
            return _read(cls, {**facts, "steps": steps, **names})
        except (KeyError, TypeError, AttributeError):
            return None


def _read(kind: type[S], facts: Mapping[str, Any]) -> S:
    names: set[str] = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    numbers = {"before", "value", "low", "high", "untouched"}
    return kind(
        **{
            name: math.nan if value is None and name in numbers else value
            for name, value in facts.items()
            if name in names
        }
    )


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else ""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class StageJudge(Generic[S]):
    """Takes stages greedily: the choice of each by the choosing classes, its judgement by the others.

    With folds of classes each fold has a choice of its own, made without it; so what is judged was never chosen by the
    classes that judge it.

    Attributes:
        division: The choosing and judging classes.
        measure: An outcome and the part of the division that chose it (None: what is shipped) → (Q,) values per query.
        shipped: The outcome so far.
        comparisons: For how many comparisons on the judging classes the intervals are widened.
        steps: The stages so far.
    """

    division: ClassDivision
    measure: Callable[[S, int | None], Floats]
    shipped: S
    comparisons: int
    steps: list[StageStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chosen: list[S] = [self.shipped for _ in self.division.parts]
        self.judged = self._pooled(self._chosen)

    @property
    def value(self) -> float:
        """The mean of what is shipped over the judging classes; over all classes where none judge."""
        values = self.judged if self.division.parts else self.measure(self.shipped, None)
        return _mean(values)

    def stage(
        self,
        name: str,
        variants: Mapping[str, Callable[[S], S]],
        *,
        note: str = "",
        judged: Difference | None = None,
        optional: bool = True,
        prefers_first: bool = False,
    ) -> StageStep:
        """Choose among variants of what is shipped so far, judge the choice, and take it if it is better.

        Args:
            name: Of the stage.
            variants: Candidate → the outcome that it makes of the one so far, simplest first.
            note: To be said with it.
            judged: A judgement on more classes, which counts in place of that by the judging ones.
            optional: Whether to leave all as it is is a candidate too.
            prefers_first: Whether an earlier candidate is chosen unless another is better by a standard error.
        """
        pick = partial(self._pick, prefers_first=prefers_first)
        changes = ({AS_BEFORE: _same} if optional else {}) | dict(variants)
        picked = [
            pick(changes, self._chosen[number], number, choosing)
            for number, (choosing, _) in enumerate(self.division.parts)
        ]
        chosen, tried = pick(changes, self.shipped, None, self.division.choosing)
        outcomes = [changes[own](self._chosen[number]) for number, (own, _) in enumerate(picked)]
        values = self._pooled(outcomes)
        own = judge(self.judged, values, self.division.labels, self.comparisons, one_sided=True)
        interval = (judged or own).interval
        kept = chosen != AS_BEFORE and interval.low > 0
        step = StageStep(
            name, chosen, tried, _mean(self.judged), _mean(values), interval.low, interval.high, interval.classes,
            bool(kept), note,
        )  # fmt: skip
        self.steps.append(step)
        if kept:
            self.shipped, self._chosen, self.judged = changes[chosen](self.shipped), outcomes, values
        return step

    def _pick(
        self,
        changes: Mapping[str, Callable[[S], S]],
        base: S,
        part: int | None,
        choosing: Any,
        *,
        prefers_first: bool,
    ) -> tuple[str, dict[str, float]]:
        values = {name: self.measure(change(base), part) for name, change in changes.items()}
        best = preferred(values, choosing, self.division.labels) if prefers_first else best_of(values, choosing)
        return best, {name: _mean(own[choosing]) for name, own in values.items()}

    def _pooled(self, outcomes: list[S]) -> Floats:
        values = np.full(len(self.division.labels), np.nan)
        for number, (_, judging) in enumerate(self.division.parts):
            values[judging] = self.measure(outcomes[number], number)[judging]
        return values


def _same(outcome: S) -> S:
    return outcome


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
