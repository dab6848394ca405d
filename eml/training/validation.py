"""Retrieval during a run: on the held-out fold and on other tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import ConfigError
from eml.evaluation.evaluate import evaluate
from eml.evaluation.retrieval_set import RetrievalSet
from eml.images.source import ImageSource
from eml.inference.model import Model
from eml.retrieval.metrics import all_metrics
from eml.training.config import RunConfig, ValidationConfig
from eml.training.data import TrainingSets, validation_sets
from eml.training.state import TrainingState
from eml.training.verdict import Verdict, verdict


@dataclass(frozen=True)
class Measured:
    """values: metric → value. facts: numbers of queries, protocols. deciding: (Q,) of what `best` goes by, or None."""

    values: dict[str, float]
    facts: dict[str, Any]
    deciding: Tensor | None


class Validation:
    """What a run is validated on, and by which metric its best checkpoint is chosen; false without any set.

    sets: name → table and set, the held-out fold's name is empty. shown: metric → its name in tables. Metrics of
    another table have its name before them, `TABLE/METRIC`.
    """

    def __init__(self, config: ValidationConfig, table: Table, sets: TrainingSets) -> None:
        self.config = config
        self.sets: dict[str, tuple[Table, RetrievalSet]] = dict(validation_sets(config, table, sets))
        self.shown = shown_metrics(self.sets)
        self.metric = config.metric
        self.decides = config.metric.rpartition("/")[0]  # the name of the set that `best` goes by
        self.images = sum(len(wanted.frame) for _, wanted in self.sets.values())

    def __bool__(self) -> bool:
        return bool(self.sets)

    def measured(
        self,
        model: Model,
        *,
        workers: int,
        sources: Mapping[str | None, ImageSource],
        progress: Callable[[int], None],
        processes: Processes = SINGLE_PROCESS,
    ) -> Measured:
        """The metrics of all sets. sources: name → cache of a set's images; progress: told of all images done."""
        done, deciding = 0, None
        values: dict[str, float] = {}
        facts: dict[str, Any] = {}

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        for name, (table, wanted) in self.sets.items():
            summary = evaluate(
                model,
                table,
                wanted,
                batch_size=self.config.batch_size,
                workers=workers,
                source=sources.get(name),
                progress=advance,
                processes=processes,
            )
            prefix = f"{name}/" if name else ""
            values |= {prefix + key: value for key, value in summary.values.items()}
            facts |= {prefix + "queries": summary.queries, prefix + "protocol": wanted.protocol}
            if name == self.decides:
                each = summary.per_query.get(self.metric.removeprefix(prefix))
                deciding = None if each is None else torch.from_numpy(each)  # GAP is no mean over queries
        return Measured(values, facts, deciding)

    def verdict(self, progress: TrainingState) -> Verdict | None:
        """Whether training helped; None without values of each query."""
        if progress.before is None or progress.best is None:
            return None
        _, wanted = self.sets[self.decides]
        labels = wanted.labels[wanted.queries]
        return verdict(self.shown[self.metric], progress.before.numpy(), progress.best.numpy(), labels)


def shown_metrics(names: Iterable[str]) -> dict[str, str]:
    """Metric → name in tables, of the held-out fold (named "") and of other tables."""
    metrics = {key: text for metric in all_metrics() for key, text in metric.shown().items()}
    return {
        (f"{name}/{key}" if name else key): (f"{name} {text}" if name else text)
        for name in names
        for key, text in metrics.items()
    }


def check_metric(config: RunConfig) -> None:
    """Raises ConfigError where no set of the run has the metric that the best checkpoint is chosen by."""
    names = [*([""] if config.data.fold is not None else []), *config.validation.tables]
    known = list(shown_metrics(names))
    if known and config.validation.metric not in known:
        raise ConfigError(f"validation.metric: unknown metric {config.validation.metric!r}; known: {', '.join(known)}")
