"""Compare the runs of a sweep: mean and spread by setting, and differences over the same classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import torch

from eml.dataset.table import Table
from eml.errors import EmlError
from eml.json_files import read_json_lines
from eml.retrieval.arrays import Floats, Labels
from eml.retrieval.statistics import Difference, as_pair
from eml.retrieval.statistics.choice import judge
from eml.training.config import RunConfig
from eml.training.data import training_data
from eml.training.run_folder import RunFolder
from eml.training.sweep.plan import PlannedRun
from eml.training.sweep.running import Failures
from eml.training.text_validation import text_source
from eml.training.validation import RunLength, Validation

Against = Literal["first", "best"]


@dataclass(frozen=True)
class RunValues:
    """Holds the figures of a finished run.

    Attributes:
        name: Its setting with what it repeats.
        group: Its setting.
        folder: The run folder.
        fold: The fold that was held out.
        best_epoch: The epoch of the checkpoint.
        values: Metric → value of the best epoch; empty without validation.
        before: The same of the network before training.
        per_query: (Q,) main metric of the best epoch; None where it is no mean over queries.
        seconds: That training and validation took.
    """

    name: str
    group: str
    folder: Path
    fold: int | None
    best_epoch: int
    values: dict[str, float]
    before: dict[str, float]
    per_query: Floats | None
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Return the run for JSON."""
        own = {"name": self.name, "setting": self.group, "folder": str(self.folder), "fold": self.fold}
        return own | {
            "best_epoch": self.best_epoch,
            "values": self.values,
            "before": self.before,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class SettingValues:
    """The runs of one setting together.

    Attributes:
        name: The setting.
        runs: Its finished runs.
        failed: How many failed.
        metrics: Metric → mean and standard deviation over the runs; of one run the deviation is None.
        difference: Its main metric minus that of the setting that it is compared with; None of that one.
    """

    name: str
    runs: tuple[RunValues, ...]
    failed: int
    metrics: dict[str, tuple[float, float | None]]
    difference: Difference | None = None

    @property
    def seconds(self) -> float | None:
        """The mean time of a run."""
        return mean(run.seconds for run in self.runs) if self.runs else None

    def facts(self) -> dict[str, Any]:
        """Return the setting for JSON."""
        change = self.difference
        return {
            "setting": self.name,
            "runs": len(self.runs),
            "failed": self.failed,
            "metrics": {key: {"mean": value, "sd": spread} for key, (value, spread) in self.metrics.items()},
            "difference": None if change is None else {"value": change.value, "interval": as_pair(change.interval)},
            "classes": None if change is None else change.interval.classes,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class SweepValues:
    """The settings of a sweep.

    Attributes:
        settings: In the order of the grid.
        metric: The metric that they are compared by; empty without validation.
        shown: Metric → its name in tables.
        question: What the validation measures, such as `unseen classes`.
        against: The setting that the others are compared with; empty where none is finished.
    """

    settings: tuple[SettingValues, ...]
    metric: str
    shown: dict[str, str]
    question: str
    against: str

    @property
    def best(self) -> SettingValues | None:
        """The setting of the highest mean; None without finished runs or validation."""
        able = [setting for setting in self.settings if self.metric in setting.metrics]
        return max(able, key=lambda setting: setting.metrics[self.metric][0], default=None)


def gather(runs: Sequence[PlannedRun], failures: Failures, table: Table, against: Against) -> SweepValues:
    """Return what the finished runs gave.

    Args:
        runs: All runs of the sweep.
        failures: Those that failed.
        table: Of all of them.
        against: Whether settings are compared with the first one or with the best.
    """
    finished = [_values_of(run) for run in runs if run.setting.name not in failures]
    validation = _Validations(table)
    metric, shown, question = validation.describe(runs[0].config)
    groups: dict[str, list[RunValues]] = {run.setting.group: [] for run in runs}
    for own in finished:
        groups[own.group].append(own)
    lost = [run.setting.group for run in runs if run.setting.name in failures]
    settings = [
        SettingValues(name, tuple(of_it), lost.count(name), _mean_and_sd(of_it, shown))
        for name, of_it in groups.items()
    ]
    values = SweepValues(tuple(settings), metric, shown, question, "")
    reference = values.best if against == "best" else next((setting for setting in settings if setting.runs), None)
    if reference is None or not metric:
        return values
    return SweepValues(
        tuple(_compared(setting, reference, len(settings) - 1, runs, validation) for setting in settings),
        metric,
        shown,
        question,
        reference.name,
    )


def _values_of(run: PlannedRun) -> RunValues:
    folder = RunFolder(run.folder)
    recorded = folder.facts()
    facts = recorded.get("finished") or {}
    of_stages = run.config.validation.metric.rpartition("/")[0] if recorded.get("stages") else None
    best_epoch = int(facts.get("best_epoch", 0))
    lines = read_json_lines(folder.path / "metrics.jsonl", dict[str, Any], cut=True) if _has_metrics(folder) else []

    def of_epoch(epoch: int, whole: str) -> dict[str, float]:
        own = [line for line in lines if line.get("epoch") == epoch]
        others = (facts.get("whole") or {}).get(whole, {}).items()  # of the set that decides, those of the stages
        line = (own[-1] if own else {}) | {key: value for key, value in others if key.rpartition("/")[0] != of_stages}
        return {key: value for key, value in line.items() if isinstance(value, float)}

    timings = read_json_lines(folder.path / "timings.jsonl", dict[str, Any], cut=True)
    return RunValues(
        name=run.setting.name,
        group=run.setting.group,
        folder=run.folder,
        fold=run.config.data.fold,
        best_epoch=best_epoch,
        values=of_epoch(best_epoch, "best"),
        before=of_epoch(0, "before"),
        per_query=_per_query(folder, run.config),
        seconds=sum(float(line.get("seconds", 0)) for line in timings),
    )


def _has_metrics(folder: RunFolder) -> bool:
    return (folder.path / "metrics.jsonl").is_file()


def _per_query(folder: RunFolder, config: RunConfig) -> Floats | None:
    """Return (Q,) values of the deciding set in the best epoch, as the run's state holds them."""
    try:
        state, _ = folder.load_state()
    except EmlError:
        return None
    name = config.validation.metric.rpartition("/")[0]
    best = state["training"].get("best")
    values = best.get(name) if isinstance(best, Mapping) else None
    return values.double().numpy() if isinstance(values, torch.Tensor) else None


def _mean_and_sd(runs: Sequence[RunValues], shown: Mapping[str, str]) -> dict[str, tuple[float, float | None]]:
    metrics = {}
    for key in shown:
        values = [run.values[key] for run in runs if key in run.values]
        if values and len(values) == len(runs):
            metrics[key] = mean(values), stdev(values) if len(values) > 1 else None
    return metrics


class _Validations:
    """The classes of the queries of each fold."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.known: dict[tuple[int | None, bool], Validation] = {}

    def of(self, config: RunConfig) -> Validation:
        fold = config.data.fold
        key = fold, config.loss.compares_texts
        if key not in self.known:
            data = training_data(self.table, fold)
            length = RunLength(config.epochs, len(data.frame), config.seed)
            columns = config.data.columns
            texts = text_source(config)
            self.known[key] = Validation(
                config.validation, self.table, data, columns=columns, length=length, texts=texts
            )
        return self.known[key]

    def describe(self, config: RunConfig) -> tuple[str, dict[str, str], str]:
        """Return the metric, the names of all metrics, and what is measured; empty without validation."""
        validation = self.of(config)
        if not validation:
            return "", {}, ""
        return validation.metric, validation.shown, validation.questions[validation.decides].text

    def classes(self, config: RunConfig) -> Labels:
        """Return (Q,) names of the classes of the deciding set's queries."""
        validation = self.of(config)
        _, images = validation.sets[validation.decides]
        names: Labels = images.frame["label"].to_numpy(str)[images.queries]
        return names


def _compared(
    own: SettingValues,
    reference: SettingValues,
    comparisons: int,
    runs: Sequence[PlannedRun],
    validation: _Validations,
) -> SettingValues:
    """Return a setting with its difference to another one, over the queries of the folds that both have."""
    if own is reference or not own.runs:
        return own
    before, after = _by_fold(reference.runs), _by_fold(own.runs)
    configs = {run.config.data.fold: run.config for run in runs}
    folds = [fold for fold in after if fold in before and len(after[fold]) == len(before[fold])]
    if not folds:
        return own
    names = [validation.classes(configs[fold]) for fold in folds]
    if any(len(name) != len(after[fold]) for name, fold in zip(names, folds, strict=True)):
        return own  # the validation tables have changed since
    labels = np.unique(np.concatenate(names), return_inverse=True)[1].astype(np.int64)
    first, second = (np.concatenate([values[fold] for fold in folds]) for values in (before, after))
    change = judge(first, second, labels, comparisons)
    return SettingValues(own.name, own.runs, own.failed, own.metrics, change)


def _by_fold(runs: Sequence[RunValues]) -> dict[int | None, Floats]:
    """Return fold → (Q,) values, the mean over the runs that held it out."""
    folds: dict[int | None, list[Floats]] = {}
    for run in runs:
        if run.per_query is not None:
            folds.setdefault(run.fold, []).append(run.per_query)
    return {
        fold: np.mean(values, axis=0) for fold, values in folds.items() if len({len(value) for value in values}) == 1
    }
