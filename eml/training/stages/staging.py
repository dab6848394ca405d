"""The stages of one run: what is measured before its first epoch, and what is chosen after the last one."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from eml.dataset.splits.usable import small_groups
from eml.images.image_size import pixel_count, size_text
from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.metrics import metrics_per_query
from eml.retrieval.statistics.choice import ClassDivision, best_of, divide_classes
from eml.training.build import RunParts
from eml.training.config import OF_ANOTHER_SIZE
from eml.training.run_folder import RunFolder
from eml.training.run_state import RunSaver
from eml.training.stages.choosing import Candidates, StagedOutcome, choose_outcome
from eml.training.stages.closed_form import ClosedForm, choose_closed_form
from eml.training.stages.features import StageFeatures, images_of_stages, stage_features, views_of_run
from eml.training.stages.networks import (
    START,
    StageNetwork,
    mean_weights,
    network_of,
    read_weights,
    save_start,
    ship,
    untouched,
)
from eml.training.stages.outcomes import TUNED, UNTOUCHED, Outcome, OutcomeMeasure
from eml.training.stages.views import passes_of, views_to_try
from eml.training.starting_point import earlier_record
from eml.training.state import TrainingState

MEANS = (0.7, 0.5)
"""Shares of the tuned weights that are tried."""
MOST_DISTRACTORS = 10_000
"""Training images in the gallery that the stages are measured with, at most."""
MOST_FOR_MEANS = 0.1
"""The images that are embedded for them, at most, as a share of those that were trained on: an image to embed costs a
third of one to train on."""


@dataclass(frozen=True)
class Collected:
    """The networks of a run and their outputs.

    Attributes:
        epoch: Of the tuned network; 0 without one.
        weights: Share of the tuned weights → weights.
        features: The same → outputs, in the first process.
    """

    epoch: int
    weights: dict[float, Mapping[str, Tensor]]
    features: dict[float, StageFeatures]


def stages_problem(parts: RunParts) -> str | None:
    """Return why a run cannot be measured in stages; None if it can."""
    validation = parts.validation
    if parts.config.shard_network and parts.processes.world > 1:
        return "the network is sharded over the processes"
    if parts.config.model.neck.type in OF_ANOTHER_SIZE:
        neck = parts.config.model.neck.type
        return f"a neck of type {neck} makes embeddings of another size than the network's features (model.neck)"
    if parts.config.loss.compares_texts:
        return "whitening would take images out of the space of the texts that they are compared with (loss)"
    if parts.config.compatible_with is not None:
        return "whitening would take images out of the space of the older model (compatible_with)"
    if not validation:
        return "nothing is held out to measure them on"
    if validation.main_metric not in metrics_per_query():
        return f"{validation.shown[validation.metric]}, which chooses the best epoch, is no mean over queries"
    return None


def stages_notes(parts: RunParts) -> list[str]:
    """Return what to know where a run is not measured in stages: why, and which keys then do nothing."""
    config = parts.config
    problem = stages_problem(parts) if config.stages == "auto" else "stages: none"
    if problem is None:
        return []
    usual = type(config).model_fields
    values = {key: getattr(config, key) for key in ("test_views", "refit")}
    unused = [key for key, value in values.items() if value and value != usual[key].default]
    lines = [f"stages are off: {problem}"] if config.stages == "auto" else []
    reason = "stages are off" if config.stages == "auto" else problem
    return lines + [f"{key} does nothing here: {reason}" for key in unused]


class Staging:
    """The stages of a run.

    Args:
        parts: Of the run.
        folder: Of the run.
        saver: Knows what the run is trained on.
        progress: Called with how many of how many images are embedded.
        note: Receives lines for the user.
    """

    def __init__(
        self,
        parts: RunParts,
        folder: RunFolder,
        saver: RunSaver,
        progress: Callable[[int, int], None],
        note: Callable[[str], None],
    ) -> None:
        self.parts, self.folder, self.saver, self.progress, self.note = parts, folder, saver, progress, note
        self.metric, self.shown = parts.validation.main_metric, parts.validation.shown[parts.validation.metric]
        self.table, self.images = parts.validation.sets[parts.validation.decides]
        self.embedded = 0
        self.closed: ClosedForm | None = None  # once it is chosen; a resumed run chooses the same again

    @cached_property
    def division(self) -> ClassDivision:
        """The classes that choose and those that judge, with look-alikes on one side; the same in all processes."""
        labels = self.images.labels[self.images.queries]
        return divide_classes(labels, seed=self.parts.config.seed, groups=self.groups)

    @cached_property
    def groups(self) -> Integers | None:
        """(Q,) groups of look-alike queries; None of a large set."""
        groups = small_groups(replace(self.table, frame=self.images.frame))
        return None if groups is None else groups[self.images.queries]

    @property
    def has_pairs(self) -> bool:
        """Whether a class that is trained on has two images."""
        return bool(np.bincount(self.parts.data.labels).max(initial=0) > 1)

    def add_epoch(self, epoch: int, per_query: Mapping[str, Tensor], state: TrainingState) -> float | None:
        """Keep an epoch's values; return the mean over the choosing classes, where others judge what they choose."""
        values = per_query[self.parts.validation.decides]
        if epoch:
            state.per_epoch[epoch] = values
        if self.division.is_nested:
            return None
        return float(np.nanmean(values.numpy()[self.division.choosing]))

    def open(self, state: TrainingState) -> None:
        """Keep the network before training, and tell what the closed form brings; all processes call this."""
        parts = self.parts
        network = untouched(parts, parts.networks.evaluated)
        sizes = {view.size for view in views_of_run(parts)}
        for size in sorted({view.size for view in views_to_try(parts.config) if view.size} - sizes, key=pixel_count):
            backbone = parts.config.model.backbone
            self.note(f"test_views: {size_text(size)} is not tried, since {backbone} takes no images of it")
        if parts.processes.first:
            save_start(parts, self.folder, earlier_record(parts.config))
        features = self._features(network, "untouched", state)
        if features is None:
            return
        started = time.monotonic()
        closed = self._closed_form(features)
        self._log("choosing", started, 0, state)
        if closed is None:
            self.note("no closed form: no class has two images that differ")
            return
        measure = self.measure(Collected(0, {}, {UNTOUCHED: features}))
        before, after = (measure(outcome, None) for outcome in (Outcome(), Outcome(after=closed.name)))
        if len(measure.rows):
            self.note("the training images are in the gallery of the stages too, which lowers their figures:")
        self.note(f"closed form ({closed.name})   {self.shown} {np.nanmean(before):.3f} → {np.nanmean(after):.3f}")

    def collect(self, state: TrainingState, epoch: int, means: Sequence[float] = ()) -> Collected:
        """Return the networks of the run and their outputs; all processes call this.

        Args:
            state: Of the finished run.
            epoch: Of the tuned network; 0 for none.
            means: Shares of its weights to mix with the untouched ones.
        """
        start = read_weights(self.parts, self.folder.checkpoints / START)
        weights: dict[float, Mapping[str, Tensor]] = {UNTOUCHED: start}
        network = untouched(self.parts, network_of(self.parts, start).embedder)
        features = {UNTOUCHED: self._features(network, "untouched", state)}
        if epoch:
            tuned = read_weights(self.parts, self.folder.checkpoint(epoch))
            for alpha in (TUNED, *means):
                weights[alpha] = mean_weights(start, tuned, alpha) if alpha != TUNED else tuned
                network = network_of(self.parts, weights[alpha])
                name = f"epoch-{epoch:03d}" + (f"-{alpha:g}" if alpha != TUNED else "")
                features[alpha] = self._features(network, name, state)
        return Collected(epoch, weights, {alpha: own for alpha, own in features.items() if own is not None})

    def finish(self, state: TrainingState) -> StagedOutcome:
        """Choose what the run gives, and write it as the checkpoint `best`; all processes call this."""
        collected = self.collect(state, state.best_epoch, self._means())
        return self.parts.processes.from_first(lambda: self._choose_and_ship(state, collected))

    def _choose_and_ship(self, state: TrainingState, collected: Collected) -> StagedOutcome:
        started = time.monotonic()
        measure = self.measure(collected, lambda part: self._offset(state, part))
        closed = self._closed_form(collected.features[UNTOUCHED])
        means = [alpha for alpha in collected.weights if alpha not in (UNTOUCHED, TUNED)]
        names = [] if closed is None else [closed.name]
        candidates = Candidates(
            self.shown, self.class_names, names, closed, state.best_epoch, means, size=self.parts.preprocess.size
        )
        staged = choose_outcome(self.division, measure, candidates)
        self._log("choosing", started, 0, state)
        self.ship(staged, collected, measure)
        return staged

    def measure(self, collected: Collected, offsets: Callable[[int], Floats] | None = None) -> OutcomeMeasure:
        """Return what measures outcomes of the run's networks on its held-out images. offsets: see `OutcomeMeasure`."""
        question = self.parts.validation.questions[self.parts.validation.decides]
        is_alone = question.classes_trained_on == 0 and self.images.within is None
        distractors = MOST_DISTRACTORS if is_alone and not self.parts.config.validation.distractors else 0
        offsets = offsets or (lambda part: np.zeros(1))
        return OutcomeMeasure(self.images, self.metric, collected.features, offsets, distractors=distractors)

    @property
    def class_names(self) -> list[str]:
        """(Q,) names of the queries' classes."""
        return [str(name) for name in self.images.frame["label"].to_numpy(object)[self.images.queries]]

    def ship(self, staged: StagedOutcome, collected: Collected, measure: OutcomeMeasure) -> None:
        """Write what the run gives as the checkpoint `best`; only the first process calls this."""
        metrics = {"epoch": staged.epoch, "outcome": staged.result.shipped, **staged.after}
        records = earlier_record(self.parts.config), self.saver.record
        projection = measure.projection(staged.outcome)
        ship(self.parts, self.folder, staged.outcome, collected.weights, projection, metrics, records)

    def _closed_form(self, features: StageFeatures) -> ClosedForm | None:
        """Return the closed form of the untouched network's features; with few held-out classes they judge it too.

        Only where queries and gallery follow no protocol, since training images have none.
        """
        if self.closed is not None:
            return self.closed
        others, question = None, self.parts.validation.questions[self.parts.validation.decides]
        held_out = np.unique(self.images.queries)
        is_free = self.images.groups is None and self.images.within is None
        is_free = is_free and bool(np.isin(self.images.gallery, held_out).all())
        if self.division.is_nested and not question.classes_trained_on and is_free:
            others = features.held_out[held_out], self.images.labels[held_out]
        seed = self.parts.config.seed
        self.closed = choose_closed_form(features.train, features.labels, self.metric, seed=seed, others=others)
        return self.closed

    def _offset(self, state: TrainingState, part: int) -> Floats:
        """Return (Q,) what it changes that a part of the division chooses the epoch without its judging classes."""
        if not self.division.is_nested or not (epochs := state.per_epoch):
            return np.zeros(1)
        values = {str(epoch): own.numpy() for epoch, own in epochs.items()}
        own = best_of(values, self.division.parts[part][0])
        return _filled(values[own] - values[str(state.best_epoch)], self.division.labels)

    def _means(self) -> tuple[float, ...]:
        """Return the shares of tuned weights to try: as many as their images are few beside those trained on."""
        trained_on = self.parts.config.epochs * self.parts.steps_per_epoch * self.parts.config.batch_size
        images = 2 * (len(images_of_stages(self.parts)) + len(self.images.frame)) / 3
        return MEANS[: int(MOST_FOR_MEANS * trained_on / images)]

    def _features(self, network: StageNetwork, name: str, state: TrainingState) -> StageFeatures | None:
        started, self.embedded = time.monotonic(), 0
        passes = len(passes_of(views_of_run(self.parts)))
        total = len(images_of_stages(self.parts)) + passes * len(self.images.frame)

        def advance(count: int) -> None:
            self.embedded += count
            self.progress(self.embedded, total)

        features = stage_features(
            self.parts, network.embedder, self.folder.path / "stages" / f"{name}.pt", progress=advance
        )
        if self.embedded:
            self._log("stages", started, self.embedded, state)
        return features

    def _log(self, phase: str, started: float, images: int, state: TrainingState) -> None:
        """Write how long a phase took."""
        seconds = time.monotonic() - started
        self.saver.log_timing(phase, max(0, state.closed_epochs), state.step, seconds, images)


def _filled(values: Floats, labels: Integers) -> Floats:
    """Return the values with the mean of their class in place of NaN, as of queries that an epoch did not measure."""
    codes = np.unique(labels, return_inverse=True)[1]
    measured = np.isfinite(values)
    counts = np.bincount(codes[measured], minlength=codes.max(initial=0) + 1)
    means = np.bincount(codes[measured], values[measured], minlength=len(counts)) / np.maximum(counts, 1)
    return np.where(measured, values, means[codes])
