"""Retrieval during a run: on the held-out fold and on other tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import ConfigError
from eml.evaluation.evaluate import evaluate_model
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import RetrievalSet
from eml.images.source import ImageSource
from eml.inference.embed import Batching
from eml.inference.model import Model
from eml.models.trained_on import TrainedOn
from eml.retrieval.metrics import all_metrics, metric_key
from eml.training.config import RunConfig, ValidationConfig
from eml.training.data import TrainingData, validation_sets
from eml.training.question import question_of
from eml.training.starting_point import UNTRAINED
from eml.training.state import TrainingState
from eml.training.verdict import Verdict, verdict


@dataclass(frozen=True)
class ValidationMetrics:
    """The metrics of a validation.

    Attributes:
        values: Metric → value.
        facts: Numbers of queries and protocols.
        per_query: Name of a set → (Q,) values of its main metric, without sets whose metric is not a mean over queries.
    """

    values: dict[str, float]
    facts: dict[str, Any]
    per_query: dict[str, Tensor]


class Validation:
    """The sets that a run is validated on, and the metric that chooses its best checkpoint; false without any set.

    Metrics of another table have its name before them, `TABLE/METRIC`.

    Attributes:
        earlier: What the network was trained on before, if training starts from another run.
        sets: Name → table and retrieval set; the held-out fold's name is "".
        digests: Name → digest of the table, of those in validation.tables.
        questions: Name of a set → which question it answers.
        shown: Metric → its name in tables.
        images: Number of images in all sets.
    """

    def __init__(
        self,
        config: ValidationConfig,
        table: Table,
        data: TrainingData,
        earlier: TrainedOn | None = None,
        *,
        columns: ColumnMap = AS_NAMED,
        accept_stale: bool = False,
    ) -> None:
        self.config, self.earlier = config, earlier
        sets = validation_sets(config, table, data, columns=columns, accept_stale=accept_stale)
        self.sets: dict[str, tuple[Table, RetrievalSet]] = dict(sets)
        for own, images in self.sets.values():
            refuse_without_positives(images, own.name)
        trained = replace(table, frame=data.frame)
        self.questions = {name: question_of(images, own, trained, earlier) for name, (own, images) in self.sets.items()}
        self.digests = {name: own.digest for name, (own, _) in self.sets.items() if name}
        self.shown = shown_metrics(self.sets)
        self.metric = metric_key(config.metric)
        self.decides = self.metric.rpartition("/")[0]  # the name of the set whose metric chooses the best checkpoint
        self.main_metric = self.metric.rpartition("/")[2]  # that of every set's verdict
        self.images = sum(len(images.frame) for _, images in self.sets.values())

    def __bool__(self) -> bool:
        return bool(self.sets)

    def measure(
        self,
        model: Model,
        *,
        workers: int,
        sources: Mapping[str | None, ImageSource],
        progress: Callable[[int], None],
        processes: Processes = SINGLE_PROCESS,
    ) -> ValidationMetrics:
        """Return the metrics of all sets.

        Args:
            model: The network.
            workers: Processes that decode images.
            sources: Name → cache of a set's images.
            progress: Called with the number of images embedded so far.
            processes: All of them call this.
        """
        done = 0
        values: dict[str, float] = {}
        per_query: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        for name, (table, images) in self.sets.items():
            batching = Batching(self.config.batch_size, workers, processes)
            summary = evaluate_model(
                model, table, images, batching=batching, source=sources.get(name), progress=advance
            ).summary
            prefix = f"{name}/" if name else ""
            values |= {prefix + key: value for key, value in summary.values.items()}
            facts |= {prefix + "queries": summary.queries, prefix + "protocol": images.protocol}
            if (own := summary.per_query.get(self.main_metric)) is not None:  # GAP is no mean over queries
                per_query[name] = torch.from_numpy(own)
        return ValidationMetrics(values, facts, per_query)

    def verdicts(self, state: TrainingState, start: str = UNTRAINED) -> dict[str, Verdict]:
        """Return whether training helped, for each set with values per query before training and in the best epoch.

        Args:
            state: Has these values.
            start: The network before training: UNTRAINED or FROM_A_RUN.
        """
        verdicts: dict[str, Verdict] = {}
        for name, (_, images) in self.sets.items():
            if name not in state.before or name not in state.best:
                continue
            shown = self.shown[f"{name}/{self.main_metric}" if name else self.main_metric]
            labels = images.labels[images.queries]
            before, best = state.before[name].numpy(), state.best[name].numpy()
            if own := verdict(shown, before, best, labels, self.questions[name].text, start):
                verdicts[name] = own
        return verdicts


def shown_metrics(names: Iterable[str]) -> dict[str, str]:
    """Return metric → name in tables, for the held-out fold (named "") and other tables."""
    metrics = {key: text for metric in all_metrics() for key, text in metric.shown().items()}
    return {
        (f"{name}/{key}" if name else key): (f"{name} {text}" if name else text)
        for name in names
        for key, text in metrics.items()
    }


def check_metric(config: RunConfig) -> None:
    """Raise ConfigError when no set of the run has the metric that chooses the best checkpoint."""
    names = [*([""] if config.data.fold is not None else []), *config.validation.tables]
    known = list(shown_metrics(names))
    if known and metric_key(config.validation.metric) not in known:
        raise ConfigError(
            f"validation.metric: unknown metric {config.validation.metric!r}; known: {', '.join(known)}",
            code="unknown-choice",
            parameter="validation.metric",
        )
