"""The progress of a run and the results of its validations."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from torch import Tensor

from eml.training.comparable import drop_incomparable
from eml.training.run_folder import Line

CHOOSING = "choosing"
"""Key of a validation's line: the deciding metric over the classes that choose the best epoch, where others judge."""


def decisive(line: Line, metric: str) -> float:
    """Return the value of a validation's line by which epochs are compared."""
    return float(line[CHOOSING] if CHOOSING in line else line[metric])


@dataclass
class TrainingState:
    """The progress of a run. All of it is saved, so that a resumed run continues exactly.

    Attributes:
        step: Optimizer steps taken.
        closed_epochs: The last epoch whose validation and checkpoint are done; epoch 0 is the validation of the
            network before training.
        best_epoch: The epoch of the best validation.
        validations: A line for each validation.
        before: Name of a validation set → (Q,) values of its main metric for the network before training; without the
            sets whose metric is not a mean over queries.
        best: The same in the best epoch.
        whole: `before` training and of the `best` epoch: the values on all images of the sets of which only a part is
            measured after each epoch.
        since: Name of a validation set whose images are others than before → the first epoch with those of now.
        per_epoch: Trained epoch → (Q,) values of the main metric on the set that decides; only of a run in stages.
        competing_since: The first epoch that can be the best one by the metric of now.
        ended: Whether training ended early, for lack of a new best.
    """

    step: int = 0
    closed_epochs: int = -1
    best_epoch: int = 0
    validations: list[Line] = field(default_factory=list)
    before: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    whole: dict[str, Line] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    per_epoch: dict[int, Tensor] = field(default_factory=dict)
    competing_since: int = 1
    ended: bool = False

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any], decides: str) -> Self:
        """Return a saved state.

        Args:
            saved: The fields. Values of the deciding set alone may stand for the dictionaries.
            decides: The name of that set.
        """
        queries = {
            name: values if isinstance(values, dict) else {} if values is None else {decides: values}
            for name, values in saved.items()
            if name in ("before", "best")
        }
        return cls(**{**saved, **queries})

    def add_validation(
        self,
        epoch: int,
        values: dict[str, float],
        metric: str,
        per_query: dict[str, Tensor],
        *,
        choosing: float | None = None,
    ) -> bool:
        """Add a validation; return whether it is the best of the trained epochs.

        Args:
            epoch: Of the validation; 0 is the network before training.
            values: Metric → value.
            metric: By which validations are compared, higher is better.
            per_query: Name of a validation set → (Q,) values of its main metric.
            choosing: The metric over the classes that choose, where others judge: it is compared in place of `metric`.
        """
        line = {"epoch": epoch, "step": self.step, **values} | ({} if choosing is None else {CHOOSING: choosing})
        earlier = [decisive(own, metric) for own in self.competing(metric)]
        self.validations.append(line)
        if epoch == 0:
            self.before = per_query
            return False
        if best := all(decisive(line, metric) > value for value in earlier):
            self.best_epoch, self.best = epoch, per_query
        return best

    def validations_since_best(self) -> int:
        """Return the number of validations after the best epoch's."""
        return sum(1 for line in self.validations if line["epoch"] > self.best_epoch)

    def best_epochs(self, metric: str, count: int) -> list[int]:
        """Return the `count` trained epochs with the highest values, best first, earlier epochs first among equals."""
        return [
            line["epoch"] for line in sorted(self.competing(metric), key=lambda line: -decisive(line, metric))[:count]
        ]

    def competing(self, metric: str) -> list[Line]:
        """Return the validations of trained epochs whose values of a metric can be compared with those of now."""
        first = max(self.competing_since, self.since.get(metric.rpartition("/")[0], 0))
        return [line for line in self.validations if line["epoch"] >= first and metric in line]

    def values_of(self, epoch: int) -> Line | None:
        """Return the line of an epoch, without the sets that have other images by now; None without a validation."""
        lines = [line for line in self.validations if line["epoch"] == epoch]
        return drop_incomparable(lines[-1], self.since) if lines else None

    def figures_of(self, name: Literal["before", "best"]) -> Line | None:
        """Return the values before training or of the best epoch, on all images of each set; None without them."""
        epoch = 0 if name == "before" else self.best_epoch
        line, whole = self.values_of(epoch), self.whole.get(name, {})
        return line if line is None or whole.get("epoch") != epoch else line | whole

    def replace_sets(self, names: Collection[str]) -> None:
        """Compare nothing that was measured on these sets so far, since their images are others from now on."""
        for values in (self.before, self.best):
            for name in names:
                values.pop(name, None)
        if names:
            self.per_epoch = {}
            self.whole.pop("best", None)
        if before := self.whole.get("before"):
            self.whole["before"] = {key: value for key, value in before.items() if key.rpartition("/")[0] not in names}
        if self.closed_epochs >= 0:  # otherwise nothing was measured
            self.since |= dict.fromkeys(names, self.closed_epochs + 1)

    def replace_metric(self, *, of_verdicts: bool) -> None:
        """Begin the choice of the best epoch anew, by another metric.

        Args:
            of_verdicts: Whether the verdicts are by another metric too.
        """
        self.competing_since = max(1, self.closed_epochs + 1)
        self.per_epoch = {}
        if of_verdicts:
            self.before, self.best = {}, {}
