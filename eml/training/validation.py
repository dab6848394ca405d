"""Retrieval during a run: on the held-out fold and on other tables."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import ConfigError, DataError
from eml.evaluation.evaluate import Evaluation, evaluate_model, rank_gallery
from eml.evaluation.retrieval_set import RetrievalSet
from eml.evaluation.thinning import ThinnedSet, part_of, thin
from eml.images.source import ImageSource, PartialSource
from eml.inference.embed import Batching
from eml.inference.model import Model
from eml.models.trained_on import TrainedOn
from eml.retrieval.metrics import BY_TEXTS, Summary, all_metrics, metric_key, summarise
from eml.texts.class_texts import ClassTexts
from eml.training.config import RunConfig, ValidationConfig
from eml.training.data import TrainingData
from eml.training.question import question_of
from eml.training.starting_point import UNTRAINED
from eml.training.state import TrainingState
from eml.training.text_validation import TextValidation, text_validation
from eml.training.validation_budget import validation_budget
from eml.training.validation_sets import validation_sets
from eml.training.verdict import Verdict, verdict


@dataclass(frozen=True)
class ValidationMetrics:
    """The metrics of a validation.

    Attributes:
        values: Metric → value, on the images that are measured after each epoch.
        facts: Numbers of queries and protocols.
        per_query: Name of a set → (Q,) values of its main metric, without sets whose metric is not a mean over queries;
            NaN for queries that were not measured.
        whole: Metric → value on all images of the sets of which only a part is measured after each epoch.
    """

    values: dict[str, float]
    facts: dict[str, Any]
    per_query: dict[str, Tensor]
    whole: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunLength:
    """The length of a run, by which a validation is made short.

    Attributes:
        epochs: Of the run.
        images: That are trained on in an epoch.
        seed: Draws the images that are measured.
        is_sharded: Whether the network's weights are divided among processes, where none can measure a checkpoint.
    """

    epochs: int
    images: int
    seed: int = 0
    is_sharded: bool = False


@dataclass(frozen=True)
class Loading:
    """Says how the images of a validation are read and embedded.

    Attributes:
        workers: Processes that decode images.
        sources: Name → cache of a set's images.
        progress: Called with the number of images embedded so far.
        processes: All of them measure together.
    """

    workers: int
    sources: Mapping[str | None, ImageSource]
    progress: Callable[[int], None]
    processes: Processes = SINGLE_PROCESS


class Validation:
    """The sets that a run is validated on, and the metric that chooses its best checkpoint; false without any set.

    Metrics of another table have its name before them, `TABLE/METRIC`. After an epoch a part of the images is measured,
    the same in each epoch; before training and of the best epoch all are, and the verdict is by these.

    Attributes:
        earlier: What the network was trained on before, if training starts from another run.
        sets: Name → table and retrieval set; the held-out fold's name is "".
        parts: Name → the part of the set that is measured after each epoch, of those of which it is not the whole.
        every: Epochs between validations.
        digests: Name → digest of the table, of those in validation.tables.
        questions: Name of a set → which question it answers.
        shown: Metric → its name in tables.
        images: Number of images that are measured after an epoch.
        whole_images: Number of images in all sets.
        texts: The texts that the held-out fold is measured by too; None where there are none.
    """

    def __init__(
        self,
        config: ValidationConfig,
        table: Table,
        data: TrainingData,
        earlier: TrainedOn | None = None,
        *,
        columns: ColumnMap = AS_NAMED,
        length: RunLength,
        accept_stale: bool = False,
        texts: ClassTexts | None = None,
    ) -> None:
        self.config, self.earlier = config, earlier
        sets = validation_sets(config, table, data, columns=columns, seed=length.seed, accept_stale=accept_stale)
        self.sets: dict[str, tuple[Table, RetrievalSet]] = dict(sets)
        self.parts: dict[str, ThinnedSet] = {}
        self.every = 1
        if self.sets:
            self._shorten(data, length)
        trained = replace(table, frame=data.frame)
        self.questions = {name: question_of(images, own, trained, earlier) for name, (own, images) in self.sets.items()}
        self.digests = {name: own.digest for name, (own, _) in self.sets.items() if name}
        self.metric = metric_key(config.metric)
        self.texts = self._texts(texts, table, data)
        self.shown = shown_metrics(self.sets, by_texts=self.texts is not None)
        self.decides = self.metric.rpartition("/")[0]  # the name of the set whose metric chooses the best checkpoint
        self.main_metric = self.metric.rpartition("/")[2]  # that of every set's verdict
        self.images = sum(len(self.measured(name).frame) for name in self.sets)
        self.whole_images = sum(len(images.frame) for _, images in self.sets.values())

    def __bool__(self) -> bool:
        return bool(self.sets)

    def _texts(self, source: ClassTexts | None, table: Table, data: TrainingData) -> TextValidation | None:
        """Return the texts of the held-out classes; None where one has none, unless they choose the best epoch."""
        try:
            return text_validation(source, table, data)
        except DataError:
            if self.metric in BY_TEXTS:
                raise
            return None

    def _shorten(self, data: TrainingData, length: RunLength) -> None:
        """Choose how many images are measured after an epoch, which ones, and how often."""
        own = {name: len(images.frame) for name, (_, images) in self.sets.items()}
        if self.config.distractors and data.validation is not None:
            if length.is_sharded:
                text = (
                    "validation.distractors: not with shard_network, where no process can measure the best checkpoint"
                )
                raise ConfigError(text, code="conflicting-settings", parameter="validation.distractors")
            own[""] = len(data.validation.frame)
        total = sum(own.values())
        budget = validation_budget(self.config, length.epochs, length.images, total)
        self.every = budget.every
        for name, (_, images) in self.sets.items():
            base = part_of(images, np.arange(own[name])) if own[name] < len(images.frame) else None
            part = None
            if budget.images is not None and total > budget.images and not length.is_sharded:
                part = thin(base.images if base else images, budget.images * own[name] // total, length.seed)
            if (measured := part or base) is not None:
                self.parts[name] = measured

    def measured(self, name: str) -> RetrievalSet:
        """Return the images of a set that are measured after each epoch."""
        return self.parts[name].images if name in self.parts else self.sets[name][1]

    @property
    def note(self) -> str | None:
        """A line on what is measured after an epoch; None where all is, after each."""
        every = f"every {self.every} epochs" if self.every > 1 else ""
        if not self.parts:
            return f"validation: {every}" if every else None
        of = f"{self.images:,} of {self.whole_images:,} images{f', {every}' if every else ''}"
        return f"validation during training: {of}; before training and of the best epoch: all of them"

    def images_in_run(self, validations: int) -> int:
        """Return how many images a run embeds for so many validations, the one before training among them."""
        return self.images * (validations - 1) + self.whole_images * (2 if self.parts else 1)

    def measure(self, model: Model, loading: Loading, *, whole: bool = False) -> ValidationMetrics:
        """Return the metrics of all sets, on the part that is measured after each epoch.

        Args:
            model: The network.
            loading: How images are read and embedded; all processes call this.
            whole: Measure all images too.
        """
        values: dict[str, float] = {}
        per_query: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}
        whole_values: dict[str, float] = {}
        advance = _counting(loading.progress)
        for name in self.sets:
            prefix, images = f"{name}/" if name else "", self.measured(name)
            if whole or name not in self.parts:
                evaluation = self._evaluate(name, model, loading, advance)
                summary = part_summary = self.with_texts(name, evaluation, model, loading.processes)
                if name in self.parts:
                    part_summary = self._of_part(name, evaluation, model, loading.processes)
                    whole_values |= {prefix + key: value for key, value in summary.values.items()}
                queries = summary.per_query.get(self.main_metric)  # GAP is no mean over queries
            else:
                evaluation = self._evaluate(name, model, loading, advance, of_part=True)
                part_summary = self.with_texts(name, evaluation, model, loading.processes)
                queries = part_summary.per_query.get(self.main_metric)
                queries = None if queries is None else self._beside_others(name, queries)
            values |= {prefix + key: value for key, value in part_summary.values.items()}
            facts |= {prefix + "queries": part_summary.queries, prefix + "protocol": images.protocol}
            if queries is not None:
                per_query[name] = torch.from_numpy(queries)
        return ValidationMetrics(values, facts, per_query, whole_values)

    def measure_whole(self, model: Model, loading: Loading, names: Collection[str]) -> ValidationMetrics:
        """Return the metrics of some sets, on all of their images; otherwise as `measure`."""
        advance = _counting(loading.progress)
        values: dict[str, float] = {}
        per_query: dict[str, Tensor] = {}
        for name in (name for name in self.sets if name in names):
            summary = self.with_texts(name, self._evaluate(name, model, loading, advance), model, loading.processes)
            values |= {(f"{name}/" if name else "") + key: value for key, value in summary.values.items()}
            if (own := summary.per_query.get(self.main_metric)) is not None:
                per_query[name] = torch.from_numpy(own)
        return ValidationMetrics({}, {}, per_query, values)

    def _evaluate(
        self, name: str, model: Model, loading: Loading, advance: Callable[[int], None], *, of_part: bool = False
    ) -> Evaluation:
        table, images = self.sets[name]
        source = loading.sources.get(name)
        if of_part:
            images, rows = self.parts[name]
            source = None if source is None else PartialSource(source, rows)
        batching = Batching(self.config.batch_size, loading.workers, loading.processes)
        return evaluate_model(model, table, images, batching=batching, source=source, progress=advance)

    def with_texts(self, name: str, evaluation: Evaluation, model: Model, processes: Processes) -> Summary:
        """Return the summary of a set, with the metrics by texts where it is the held-out fold of a run that has them.

        All processes call this; the first one measures.
        """
        texts, summary = self.texts, evaluation.summary
        if name or texts is None:
            return summary
        return processes.from_first(lambda: texts.add(summary, evaluation.embeddings, evaluation.retrieval, model))

    def _of_part(self, name: str, evaluation: Evaluation, model: Model, processes: Processes) -> Summary:
        """Return the summary of a set's part, of the embeddings of the whole set."""
        images, rows = self.parts[name]

        def measure() -> Evaluation:
            embeddings = evaluation.embeddings[torch.from_numpy(rows)]
            summary = summarise(rank_gallery(embeddings, images))
            return replace(evaluation, embeddings=embeddings, retrieval=images, summary=summary)

        return processes.from_first(lambda: self.with_texts(name, measure(), model, SINGLE_PROCESS))

    def _beside_others(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (Q,) values for all queries of a set, NaN for those that are not in its part."""
        whole, (part, rows) = self.sets[name][1], self.parts[name]
        number = np.full(len(whole.frame), -1)
        number[whole.queries] = np.arange(len(whole.queries))
        spread = np.full(len(whole.queries), np.nan)
        spread[number[rows[part.queries]]] = values
        return spread

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
            if name in self.parts and state.whole.get("best", {}).get("epoch") != state.best_epoch:
                continue  # its best epoch was measured on a part
            shown = self.shown[f"{name}/{self.main_metric}" if name else self.main_metric]
            labels = images.labels[images.queries]
            before, best = state.before[name].numpy(), state.best[name].numpy()
            if own := verdict(shown, before, best, labels, self.questions[name].text, start):
                verdicts[name] = own
        return verdicts


def _counting(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that takes numbers of images and passes on how many they are so far."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done)

    return advance


def shown_metrics(names: Collection[str], *, by_texts: bool = False) -> dict[str, str]:
    """Return metric → name in tables, for the held-out fold (named "") and others; by texts for the fold alone."""
    metrics = {key: text for metric in all_metrics() for key, text in metric.shown().items()}
    return {
        (f"{name}/{key}" if name else key): (f"{name} {text}" if name else text)
        for name in names
        for key, text in metrics.items()
    } | (BY_TEXTS if by_texts and "" in names else {})


def check_metric(config: RunConfig) -> None:
    """Raise ConfigError when no set of the run has the metric that chooses the best checkpoint."""
    names = [*([""] if config.data.fold is not None else []), *config.validation.tables]
    known = list(shown_metrics(names, by_texts=config.loss.compares_texts))
    metric = metric_key(config.validation.metric)
    if metric in BY_TEXTS and not config.loss.compares_texts:
        raise ConfigError(
            f"validation.metric: {metric} is measured by the texts of the held-out classes, which only a run with "
            f"loss: {{type: contrastive_text}} has, not one with {config.loss.type}; take another, such as map_at_r",
            code="conflicting-settings",
            parameter="validation.metric",
        )
    if known and metric not in known:
        raise ConfigError(
            f"validation.metric: unknown metric {config.validation.metric!r}; known: {', '.join(known)}",
            code="unknown-choice",
            parameter="validation.metric",
        )
