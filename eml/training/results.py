"""The result of a training run."""

from dataclasses import dataclass
from pathlib import Path

from eml.training.verdict import Verdict


@dataclass(frozen=True)
class TrainingResult:
    """The result of a finished run; without validation the metrics and the verdict are None.

    Attributes:
        folder: The run folder.
        before: Metric → value of the untrained network.
        best: Metric → value of the best epoch.
        best_epoch: The epoch of the checkpoint that `best` names.
        shown: Metric → its name in tables.
        verdict: Whether training helped; None where the deciding metric is not a mean over queries.
    """

    folder: Path
    before: dict[str, float] | None
    best: dict[str, float] | None
    best_epoch: int
    shown: dict[str, str]
    verdict: Verdict | None
