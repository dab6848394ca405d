"""The result of a training run."""

from dataclasses import dataclass, field
from pathlib import Path

from eml.training.compatibility.measure import CompatibilityResult
from eml.training.question import Question
from eml.training.stages.steps import StagesResult
from eml.training.verdict import Verdict


@dataclass(frozen=True)
class TrainingResult:
    """The result of a finished run; without validation the metrics and the verdict are None.

    A validation set has a name: that of its key in validation.tables, or "" for the held-out fold.

    Attributes:
        folder: The run folder.
        before: Metric → value of the network before training.
        best: Metric → value of the best epoch.
        best_epoch: The epoch of the checkpoint that `best` names.
        shown: Metric → its name in tables.
        questions: Validation set → which question it answers: new images of known classes, or unseen classes.
        verdicts: Validation set → whether training helped, where the metric is a mean over queries.
        decides: The validation set whose metric chooses the best epoch.
        stages: What each stage brought, of a run in stages; `before`, `best` and the verdict are then of the untouched
            network and of what the run gives, on the classes that judge.
        to_try: Changes to try, one at a time, where training has not shown to help.
        compatibility: Whether queries fit the gallery of the older model; None of a run without one.
    """

    folder: Path
    before: dict[str, float] | None
    best: dict[str, float] | None
    best_epoch: int
    shown: dict[str, str]
    questions: dict[str, Question]
    verdicts: dict[str, Verdict]
    decides: str = ""
    stages: StagesResult | None = None
    to_try: list[str] = field(default_factory=list)
    compatibility: CompatibilityResult | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Whether training helped, by the deciding metric; None where it is not a mean over queries."""
        return self.verdicts.get(self.decides)
