"""The facts of a run folder that its page shows; of a run that is still going, or of an older eml, those there are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eml.errors import EmlError
from eml.evaluation.outputs import METRICS as RESULTS
from eml.evaluation.outputs import PAGE
from eml.json_files import MOST_BYTES_OF_LISTS, read_json, read_json_lines
from eml.models.pointers import RUN_FILE, find_checkpoint
from eml.reports.run_logs import STEPS, TIMINGS, find_questions, read_lines, read_validations, read_whole
from eml.retrieval.metrics import BY_TEXTS, all_metrics
from eml.training.config import RunConfig
from eml.training.moved_run import CONFIG_NAME, load_run_config
from eml.training.stages.steps import StagesResult
from eml.training.verdict import Verdict


@dataclass(frozen=True)
class ValidationSet:
    """The values of a validation set.

    Attributes:
        name: Of the set; empty for the held-out fold.
        question: What it measures; empty if the run does not say.
        metrics: Key of a metric in the log → its name in tables.
        lines: The values by epoch.
        whole: Epoch → values on all images of the set, where a part was measured after each epoch.
    """

    name: str
    question: str
    metrics: dict[str, str]
    lines: list[dict[str, Any]]
    whole: dict[int, dict[str, Any]] = field(default_factory=dict)

    def figures(self, epoch: int | None) -> list[dict[str, Any]]:
        """Return the values of an epoch as a list of one, on all images of the set where they were measured."""
        return [line | self.whole.get(line["epoch"], {}) for line in self.lines if line["epoch"] == epoch]


@dataclass(frozen=True)
class PastEvaluation:
    """An evaluation in the run folder.

    Attributes:
        table: What was evaluated.
        values: R@1 and MAP@R.
        page: Its report, relative to the run folder; empty if there is none.
    """

    table: str
    values: tuple[float, float]
    page: str


@dataclass(frozen=True)
class RunSummary:
    """The content of a run folder that its page shows.

    Attributes:
        folder: The run folder.
        facts: The content of run.json.
        config: The config; None if it can no longer be read, which `config_problem` explains.
        config_text: The content of config.yaml.
        steps: The lines of the training log.
        validations: The validation sets.
        seconds: Phase → seconds, such as training and validation.
        verdicts: Validation set → whether training helped, of a finished run.
        best: Name of the best checkpoint; None if there is none yet.
        evaluations: Evaluations in the run folder.
    """

    folder: Path
    facts: dict[str, Any]
    config: RunConfig | None
    config_problem: str
    config_text: str
    steps: list[dict[str, Any]]
    validations: list[ValidationSet]
    seconds: dict[str, float]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    best: str | None = None
    evaluations: list[PastEvaluation] = field(default_factory=list)

    @property
    def stages(self) -> StagesResult | None:
        """Return what each stage of a finished run brought."""
        recorded = self.facts.get("stages")
        return StagesResult.of_dict(recorded) if self.is_finished and isinstance(recorded, dict) else None

    @property
    def best_epoch(self) -> int | None:
        """The best epoch, of which the checkpoint is, or from which a run in stages made the one that it gives."""
        if self.best and self.best[6:].isdigit():
            return int(self.best.removeprefix("epoch-"))
        finished = self.facts.get("finished")
        epoch = finished.get("best_epoch") if isinstance(finished, dict) else None
        return epoch if isinstance(epoch, int) else None

    @property
    def epochs_done(self) -> int:
        """The last epoch that was closed."""
        return int(max((line["epoch"] for line in read_lines(self.folder / TIMINGS)), default=0))

    @property
    def is_finished(self) -> bool:
        """Whether the run says that it ended."""
        return isinstance(self.facts.get("finished"), dict)

    @property
    def state(self) -> str:
        """Says in words how far the run is."""
        if self.config is None:
            return f"{self.epochs_done:,} epochs are done"
        if self.is_finished or self.epochs_done >= self.config.epochs:
            return f"finished after {self.epochs_done:,} of {self.config.epochs:,} epochs"
        return f"not finished: {self.epochs_done:,} of {self.config.epochs:,} epochs are done"

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON takes it."""
        return {
            "run": str(self.folder),
            "state": self.state,
            "epochs_done": self.epochs_done,
            "steps": len(self.steps),
            "seconds": self.seconds,
            "best": self.best,
            "stages": self.stages.to_dict() if self.stages else None,
            "validations": {validation.name: validation.lines for validation in self.validations},
            "verdicts": {name: verdict.to_dict() for name, verdict in self.verdicts.items()},
            "evaluations": [
                {"table": past.table, "recall_at_1": past.values[0], "map_at_r": past.values[1]}
                for past in self.evaluations
            ],
        }


def summarize_run(folder: Path) -> RunSummary:
    """Read what a run folder says.

    Raises:
        DataError: A log is damaged.
    """
    config, problem = _read_config(folder)
    facts = _read_facts(folder / RUN_FILE)
    text = folder / CONFIG_NAME
    return RunSummary(
        folder=folder,
        facts=facts,
        config=config,
        config_problem=problem,
        config_text=text.read_text(encoding="utf-8", errors="replace") if text.is_file() else "",
        steps=read_lines(folder / STEPS),
        validations=_validation_sets(folder),
        seconds=_seconds(folder / TIMINGS),
        verdicts=_verdicts(facts),
        best=_best(folder),
        evaluations=_evaluations(folder),
    )


def _read_config(folder: Path) -> tuple[RunConfig | None, str]:
    """Return the config, or None and why it can no longer be read."""
    try:
        return load_run_config(folder / CONFIG_NAME), ""
    except (EmlError, OSError) as error:
        return None, str(error)


def _read_facts(file: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = read_json(file, dict[str, Any])
    except (OSError, ValueError):
        return {}
    return facts


def _seconds(file: Path) -> dict[str, float]:
    """Return phase → seconds of a log of times; none of a log that is missing or damaged."""
    seconds: dict[str, float] = {}
    try:
        lines = read_json_lines(file, dict[str, Any], cut=True)
    except (OSError, ValueError):
        return {}
    for line in lines:
        phase, value = str(line.get("phase", "other")), line.get("seconds")
        seconds[phase] = seconds.get(phase, 0.0) + (float(value) if isinstance(value, int | float) else 0.0)
    return seconds


def _validation_sets(folder: Path) -> list[ValidationSet]:
    lines, questions, whole = read_validations(folder), find_questions(folder), read_whole(folder)
    names = {key: text for metric in all_metrics() for key, text in metric.shown().items()} | BY_TEXTS
    sets: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys(key for line in lines for key in line):
        name, _, metric = key.rpartition("/")
        if metric in names:
            sets.setdefault(name, {})[key] = names[metric]
    return [
        ValidationSet(
            name,
            questions.get(name, ""),
            metrics,
            [line for line in lines if metrics.keys() & line.keys()],
            {epoch: line for epoch, line in whole.items() if metrics.keys() & line.keys()},
        )
        for name, metrics in sets.items()
    ]


def _verdicts(facts: dict[str, Any]) -> dict[str, Verdict]:
    """Return the verdicts that a finished run recorded; none of a run of an older eml, or of one that goes on."""
    finished = facts.get("finished")
    recorded = finished.get("verdicts") if isinstance(finished, dict) else None
    fields = set(Verdict.__dataclass_fields__)
    try:
        return {
            str(name): Verdict(**{key: value for key, value in verdict.items() if key in fields})
            for name, verdict in (recorded or {}).items()
        }
    except (AttributeError, TypeError):
        return {}


def _best(folder: Path) -> str | None:
    try:
        return find_checkpoint(folder).name
    except EmlError:
        return None


def _evaluations(folder: Path) -> list[PastEvaluation]:
    """Return the evaluations of the run itself in its folder, those with both metrics."""
    evaluations = []
    for file in sorted((folder / "evaluations").glob(f"*/{RESULTS}")):
        try:
            facts = read_json(file, dict[str, Any], MOST_BYTES_OF_LISTS)
            values = (float(facts["metrics"]["recall_at_1"]), float(facts["metrics"]["map_at_r"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        page = file.with_name(PAGE)
        link = page.relative_to(folder).as_posix() if page.is_file() else ""
        evaluations.append(PastEvaluation(str(facts.get("name", file.parent.name)), values, link))
    return evaluations
