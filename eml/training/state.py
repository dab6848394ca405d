"""Where a run stands."""

from dataclasses import dataclass, field

from torch import Tensor

from eml.training.run_folder import Line


@dataclass
class TrainingState:
    """All of it is saved, so all of it can be taken up again.

    step: optimizer steps taken. closed_epochs: the last epoch whose validation and checkpoint are done; epoch 0 is the
    validation of the untrained network. before, best: (Q,) values of the deciding metric, untrained and in the best
    epoch; None for a metric that is no mean over queries. ended: no further epoch, for want of patience.
    """

    step: int = 0
    closed_epochs: int = -1
    best_epoch: int = 0
    validations: list[Line] = field(default_factory=list)
    before: Tensor | None = None
    best: Tensor | None = None
    ended: bool = False

    def enter(self, epoch: int, values: dict[str, float], metric: str, deciding: Tensor | None) -> bool:
        """Enter a validation; whether it is the best of the trained ones. deciding: (Q,) of the metric or None."""
        earlier = [line[metric] for line in self.validations if line["epoch"] > 0]
        self.validations.append({"epoch": epoch, "step": self.step, **values})
        if epoch == 0:
            self.before = deciding
            return False
        if best := all(values[metric] > value for value in earlier):
            self.best_epoch, self.best = epoch, deciding
        return best

    def validations_since_best(self) -> int:
        """How many have been entered after the best epoch's."""
        return sum(1 for line in self.validations if line["epoch"] > self.best_epoch)

    def best_epochs(self, metric: str, count: int) -> list[int]:
        """The trained epochs of the highest values, best first, of equals the earlier one."""
        trained = [line for line in self.validations if line["epoch"] > 0]
        return [line["epoch"] for line in sorted(trained, key=lambda line: -line[metric])[:count]]
