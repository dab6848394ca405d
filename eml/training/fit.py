"""One training run, read from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import is_sharded, shard_network
from eml.errors import CheckpointError, ConfigError, EmlError, Interrupted
from eml.head.class_head import ClassHead
from eml.head.compatibility import check_loss, check_mix, smoothing_warning
from eml.head.shards import Shard
from eml.images.loading import EpochBatches, ImageDataset, batches, normalise
from eml.images.mixes import Mixed
from eml.images.preprocess import Preprocess
from eml.images.source import ImageSource
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.losses import Terms
from eml.models.checkpoint import save_checkpoint
from eml.models.embedder import Embedder, build_embedder, check_backbone, default_preprocess
from eml.trackers.base import Tracking
from eml.training.caches import wanted_caches
from eml.training.config import RunConfig
from eml.training.config_changes import changes_of, decisive
from eml.training.data import TrainingSets, training_sets
from eml.training.data_parallel import SummedGradients, clip_gradients, gradient_norm, same_everywhere, share_statistics
from eml.training.distributed_state import gather_state, scatter_state, whole_weights
from eml.training.events import Caching, Note, Observer, Started, Stepped, Validated, Validating
from eml.training.gradient_cache import GradientCache, precision_of, random_state, set_random_state
from eml.training.nan_check import NotFiniteError, StepSnapshot, find_nan_source
from eml.training.optimizer import (
    build_optimizer,
    check_optimizer,
    learning_rate_factor,
    load_optimizer,
    set_learning_rates,
)
from eml.training.process_checks import batch_norm_note, check_parts, check_processes, sharding_note
from eml.training.recipe import resolved
from eml.training.run_folder import Line, RunFolder, table_facts
from eml.training.state import TrainingState
from eml.training.stop_signals import stop_requests
from eml.training.validation import Validation, check_metric
from eml.training.verdict import Verdict


@dataclass(frozen=True)
class Result:
    """What a finished run leaves; without validation the metrics and the verdict are None.

    best: of the checkpoint that `best` names. shown: metric → its name in tables.
    """

    folder: Path
    before: dict[str, float] | None
    best: dict[str, float] | None
    best_epoch: int
    shown: dict[str, str]
    verdict: Verdict | None


def fit(
    config: RunConfig,
    table: Table,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
    processes: Processes = SINGLE_PROCESS,
) -> Result:
    """Train as the config says and leave a run folder; on resume, go on from its state to the same end bit for bit.

    accept_changes: resume with a config that changes the result. processes: that have met and all call this, with the
    same arguments; the first one writes and is observed. Raises EmlError for what the user can mend, Interrupted after
    Ctrl-C or SIGTERM with the state saved.
    """
    config, chosen = resolved(config, table)
    observe = observe if processes.first else lambda event: None
    for line in chosen:
        observe(Note(line))
    run = Run(config, table, observe, resume=resume, processes=processes)
    return run.run(overwrite=overwrite, accept_changes=accept_changes)


def check(config: RunConfig, *, resume: bool, overwrite: bool, processes: Processes = SINGLE_PROCESS) -> None:
    """What only timm, this machine and the output folder can tell of a config, before anything is read or built.

    processes: which have not met yet; the first one makes the folder after that. Raises EmlError with all problems at
    once.
    """
    problems: list[str] = []
    checks: list[Callable[[], object]] = [
        lambda: processes.device(config.device),
        lambda: check_processes(config, processes),
        lambda: check_backbone(config.model.backbone),
        lambda: check_optimizer(config.optimizer.name),
        config.augment.check,
        *(tracker.check for tracker in config.trackers),
        lambda: check_metric(config),
        lambda: check_loss(config.margin, config.loss),
        lambda: check_mix(config.margin, config.head, config.mix),
        RunFolder(config.output).refuse_not_begun
        if resume
        else lambda: RunFolder(config.output).refuse_occupied(overwrite=overwrite),
    ]
    for each in checks:
        try:
            each()
        except EmlError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


class Run:
    """A training run: its parts are built in __init__, its story is `run`.

    Of several processes each has its part of every batch and of the classes; the first one writes.
    """

    def __init__(
        self,
        config: RunConfig,
        table: Table,
        observe: Observer,
        *,
        resume: bool = False,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.resume, self.processes = resume, processes
        self.config, self.table, self.observe = config, table, observe
        self.table_digest = table.digest  # of what was read, whatever becomes of the file
        self.folder = RunFolder(config.output)
        self.device = processes.device(config.device)
        self.workers = _workers(config, self.device, processes.local_world)
        check_metric(config)
        self.sets: TrainingSets = training_sets(table, config.data.fold)
        self.sampled = self.sets.sampled(config.sampler.category_column, table.name)
        config.sampler.check(self.sampled, config.batch_size, table.name)
        self.validation = Validation(config.validation, table, self.sets)
        self.cached: dict[str | None, ImageSource] = {}  # of the training images (None), and of validation sets by name
        torch.manual_seed(config.seed)
        self.embedder: Embedder = build_embedder(
            config.model.model_copy(update={"weights": "none"}) if resume else config.model,  # the state has them
            config.image.size,
        )
        self.preprocess: Preprocess = default_preprocess(self.embedder.backbone, **dict(config.image))
        self.augmenter = config.augment.build(self.preprocess)
        check_loss(config.margin, config.loss)
        check_mix(config.margin, config.head, config.mix)
        counts = np.bincount(self.sets.labels, minlength=len(self.sets.classes)).tolist()
        shard = Shard.of_group(len(counts)) if processes.world > 1 else None
        self.head = ClassHead(config.margin, len(counts), self.embedder.size, config.head, counts=counts, shard=shard)
        sharded = config.shard_network and processes.world > 1
        if not sharded:
            self.embedder.to(self.device)
        same_everywhere(self.embedder, processes)
        ema = config.ema  # before the network is shared out, which cannot be copied then
        self.ema = ModelEmaV3(self.embedder, ema.decay, use_warmup=ema.warmup, foreach=not sharded) if ema else None
        if sharded:
            for network in (self.embedder, *([self.ema.module] if self.ema else [])):
                shard_network(network, processes, self.device, side=self.preprocess.size)
        self.head.to(self.device)
        self.optimizer = build_optimizer(config.optimizer, self.embedder, self.head)
        self.network: Embedder = self.ema.module if self.ema else self.embedder  # what is validated and saved
        self.model = Model(self.network, self.preprocess, self.device)
        if config.compile:
            self.embedder.compile()
        precision = precision_of(config.precision, self.device)
        gradients = SummedGradients(self.embedder) if processes.world > 1 else None
        self.embedding = GradientCache(self.embedder, self.device, precision, config.accumulate, gradients)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self.before_step = StepSnapshot(self.embedder, self.head, self.device)
        self.counts: list[int] | None = None  # how many images of a batch each process has
        self.labels = torch.from_numpy(self.sets.labels).to(self.device)
        self.epoch_steps = config.sampler.steps(self.sampled, config.batch_size)
        self.steps = config.epochs * self.epoch_steps
        self.progress = TrainingState()
        self.log: list[Line] = []  # steps that are not yet in the folder
        self.saved = (0, time.monotonic())
        self.processes.reseed(config.seed, 0)
        self.tracking = Tracking(lambda text: observe(Note(text)))
        self.stopped: Callable[[], bool] = lambda: False

    def run(self, *, overwrite: bool = False, accept_changes: bool = False) -> Result:
        """Validate the untrained network, then epoch by epoch: steps, validation, checkpoint, state."""
        with self.folder.held() if self.processes.first else nullcontext():
            self._begin(overwrite=overwrite, accept_changes=accept_changes)
            self._tell_plan()
            config = self.config.model_dump(mode="json")
            trackers = self.config.trackers if self.processes.first else ()
            self.tracking.open(trackers, self.folder.path, config, resumed=self.resume)
            with stop_requests() as stopped, closing(self.tracking):
                self.stopped = stopped
                for epoch in range(self.progress.closed_epochs + 1, self.config.epochs + 1):
                    if self.progress.ended:
                        break
                    self._train_epoch(epoch)
                    self._close_epoch(epoch)
        return self._result()

    def _begin(self, *, overwrite: bool, accept_changes: bool) -> None:
        """Take up the saved state, or make the folder; the caches that are wanted before that."""
        if self.resume:
            self._restore(accept_changes=accept_changes)
        elif self.processes.first:
            self.folder.refuse_occupied(overwrite=overwrite)
        self.processes.after_first(self.fill_caches)
        if not self.resume:
            if self.processes.first:
                self.folder.create(self.config, self.facts(), overwrite=overwrite)
            self._save()

    def _tell_plan(self) -> None:
        self.observe(
            Started(len(self.sets.frame), len(self.sets.classes), self.steps, self.epoch_steps, self.progress.step)
        )
        self.observe(Note(str(self.head.plan(self.config.batch_size))))
        if warning := smoothing_warning(self.head, self.config.loss):
            self.observe(Note(warning))
        for line in (*self.sampling_notes(), *self.process_notes()):
            self.observe(Note(line))

    def fill_caches(self) -> None:
        """The caches that the config asks for, before anything is trained or, of a new run, written."""
        if self.config.data.cache is None:
            return
        for name, wanted in wanted_caches(
            self.config.data.cache, self.table, self.sets, self.validation.sets, self.preprocess, self.augmenter
        ):
            filled = wanted.fill(
                lambda line: self.observe(Note(line)), lambda done, total: self.observe(Caching(done, total))
            )
            self.cached[name] = filled.source

    def _train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are still to do; none in epoch 0."""
        first_step = self.progress.step - (epoch - 1) * self.epoch_steps
        if epoch == 0 or first_step == self.epoch_steps:
            return
        started, seen = time.monotonic(), 0
        for pixels, rows in self.batches(epoch, first_step):
            try:
                line = self.step(pixels, rows)
            except NotFiniteError:
                self._save()
                raise
            self.log.append(line)
            seen += len(rows) * self.processes.world  # or about that, where a batch is not shared evenly
            rate = seen / (time.monotonic() - started)
            self.observe(Stepped(self.progress.step, epoch, line["loss"], line["lr"]["class_weights"], rate))
            self.tracking.write(line["step"], _numbers(line))
            stop, save = self.processes.any_rank(self.stopped(), self.processes.first and self._save_is_due())
            if stop:
                break
            if save:
                self._save()
        self._log_timing(epoch, time.monotonic() - started, seen)
        self._save()
        self._leave_if_stopped()

    def step(self, pixels: Tensor, rows: Tensor) -> Line:
        """One optimizer step on a batch: mix, embed, compare with the classes, go back, move."""
        config, step = self.config, self.progress.step
        factor = learning_rate_factor(config.schedule, step, self.steps, self.epoch_steps)
        rates = set_learning_rates(self.optimizer, factor, class_weights=config.optimizer.lr.class_weights)
        self.before_step.remember()
        self.head.progress = step / max(1, self.steps - 1)
        images = normalise(pixels.to(self.device, non_blocking=True), self.preprocess)
        mixed = self._mixed(images) if config.mix else None
        images = mixed.images if mixed else images
        embeddings = self.embedding.forward(images)
        loss, statistics = self._loss(embeddings, self.labels[rows.to(self.device)], mixed)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.embedding.backward(embeddings)
        norm = self._clipped_norm()
        told = torch.stack([loss.detach(), norm, *statistics]).tolist()  # one wait for the device
        self._check_finite(told[0], told[1], images, rows)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if math.isfinite(told[1]):
            self.head.step(rates["class_weights"], config.optimizer.class_weight_decay)
        else:  # float16 overflowed: the scaler has left the step out for the others
            self.head.forget_step()
        share_statistics(self.embedder, self.processes)
        if self.ema is not None:
            self.ema.update(self.embedder, step + 1)
        self.progress.step += 1
        names = ("loss", "gradient_norm", *Terms.STATISTICS)
        known = {name: value if math.isfinite(value) else None for name, value in zip(names, told, strict=True)}
        return {"step": step + 1, "lr": rates} | known  # None: the norm of a gradient that overflowed in float16

    def _mixed(self, images: Tensor) -> Mixed | None:
        assert self.config.mix is not None
        step, rank = self.progress.step, self.processes.rank
        return self.config.mix(images, seed=self.config.seed, step=step, steps=self.steps, rank=rank)

    def _loss(self, embeddings: Tensor, labels: Tensor, mixed: Mixed | None) -> tuple[Tensor, list[Tensor]]:
        """() mean loss, and the statistics of the terms. embeddings: (B, D), of mixed images if so; labels: (B,).

        Given is this process's part of the batch, what is returned is of the whole.
        """
        if mixed is None:
            terms = self.head(embeddings, labels, counts=self.counts)
            return self.config.loss(terms).mean(), terms.statistics()
        terms, others = self.head.mixed(embeddings, labels, labels[mixed.positives], mixed.share, counts=self.counts)
        share = self.head.shard.gathered(mixed.share, self.counts)
        losses = self.config.loss.mixed(terms, others, share)
        return losses.mean(), terms.mixed_statistics(others, share)

    def _clipped_norm(self) -> Tensor:
        """() norm of the whole gradient before it was clipped."""
        self.scaler.unscale_(self.optimizer)
        rows = self.head.sampled_rows()
        if self.scaler.is_enabled():
            for each in rows:
                each.grad = None if each.grad is None else each.grad / self.scaler.get_scale()
        trained = [each for group in self.optimizer.param_groups for each in group["params"]] + rows
        norm = gradient_norm(trained, rows, self.head)
        if self.config.optimizer.clip is not None:
            clip_gradients(trained, self.config.optimizer.clip, norm)
        return norm

    def _check_finite(self, loss: float, norm: float, images: Tensor, rows: Tensor) -> None:
        """Raises NotFiniteError, all being again as before the step, when the loss or its gradient is no number.

        In float16 a gradient that overflows is ordinary: the scaler leaves the step out and lowers its scale.
        """
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if math.isfinite(loss) and (math.isfinite(norm) or overflow):
            return
        names = self.sets.frame["file_name"].iloc[rows.tolist()].tolist()
        found = self.processes.all_gather((find_nan_source(self.embedder, self.head, images, self.processes), names))
        vague = ("embeddings are finite", "class head or the loss")
        source, names = min(found, key=lambda each: sum(text in each[0] for text in vague))  # of the part that has it
        self.before_step.restore()
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of its gradient is {norm}"
        raise NotFiniteError(
            f"step {self.progress.step + 1}: {what}; {source}",
            names,
            f"eml train {self.folder.path / 'config.yaml'} --resume --accept-changes --set optimizer.clip=5 "
            f"--set optimizer.lr.backbone={self.config.optimizer.lr.backbone / 2:.3g}",
        )

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch from its `first_step` on, or this process's part, with the modules in training mode."""
        self._train_mode()
        order = self.config.sampler.epoch(self.sampled, self.config.batch_size, self.config.seed, epoch)
        if is_sharded(self.embedder):  # of few images a batch is smaller than the config's
            check_parts(order.shape[1], self.config.accumulate, self.processes)
        share = EpochBatches(order, epoch, first_step, rank=self.processes.rank, world=self.processes.world)
        self.counts = share.counts
        yield from batches(self.training_images, share, self.workers)

    def _train_mode(self) -> None:
        self.embedder.train()
        if self.config.optimizer.lr.backbone == 0:
            self.embedder.backbone.eval()  # frozen means its BatchNorm statistics too
        self.head.train()

    @cached_property
    def training_images(self) -> ImageDataset:
        """The training images, from the cache if there is one, as training has them."""
        source, seed = self.cached.get(None), self.config.seed
        return table_images(
            self.table, self.sets.frame, self.preprocess, source=source, augmenter=self.augmenter, seed=seed
        )

    def sampling_notes(self) -> list[str]:
        """What the sampler has to say of these classes, a line each."""
        return self.config.sampler.notes(self.sampled, self.config.batch_size, self.sets.classes)

    def process_notes(self) -> list[str]:
        """What there is to say of a run by several processes, a line each."""
        self._train_mode()
        return [*batch_norm_note(self.embedder, self.processes), *sharding_note(self.config, self.processes)]

    def _close_epoch(self, epoch: int) -> None:
        """Validation and checkpoint where they are due; then the epoch is done."""
        if epoch % self.config.validation.every == 0 or epoch == self.config.epochs:
            self._validate(epoch)
            if epoch > 0:
                self._save_checkpoint(epoch)
        self.progress.closed_epochs = epoch
        self._save()
        if epoch < self.config.epochs:
            self._leave_if_stopped()

    def _validate(self, epoch: int) -> None:
        """Retrieval on the held-out fold and the other tables; nothing without any."""
        if not self.validation:
            return
        started = time.monotonic()

        def advance(done: int) -> None:
            self.observe(Validating(done, self.validation.images))
            self._leave_if_stopped()

        found = self.validation.measured(
            self.model, workers=self.workers, sources=self.cached, progress=advance, processes=self.processes
        )
        best = self.progress.enter(epoch, found.values, self.validation.metric, found.deciding)
        if self.processes.first:
            self.folder.append("metrics", [self.progress.validations[-1] | found.facts])
        self._log_timing(epoch, time.monotonic() - started, self.validation.images, what="validation")
        self.observe(Validated(epoch, found.values, self.validation.shown, best))
        self.tracking.write(self.progress.step, {f"validation/{key}": value for key, value in found.values.items()})
        self._end_without_progress(epoch)

    def _end_without_progress(self, epoch: int) -> None:
        patience, since = self.config.validation.patience, self.progress.validations_since_best()
        if epoch > 0 and patience is not None and since >= patience and epoch < self.config.epochs:
            self.progress.ended = True
            self.observe(Note(f"no new best in {since} validations: training ends with epoch {epoch}"))

    def _save_checkpoint(self, epoch: int) -> None:
        """Write the epoch's checkpoint, move `last` and perhaps `best` to it, drop those that are neither."""
        weights = whole_weights(self.network, self.processes)
        if not self.processes.first:
            return
        values = dict(self.progress.validations[-1]) if self.progress.validations else {"epoch": epoch}
        target, model = self.folder.checkpoint(epoch), self.config.model
        save_checkpoint(target, self.network, model, self.preprocess, self.sets.classes, values, weights=weights)
        validation = self.config.validation
        best = self.progress.best_epochs(validation.metric, validation.keep)
        self.folder.keep_checkpoints(best or [epoch], last=epoch)

    def _save_is_due(self) -> bool:
        step, seconds = self.saved
        saving = self.config.saving
        return (saving.steps is not None and self.progress.step - step >= saving.steps) or (
            saving.minutes is not None and time.monotonic() - seconds >= 60 * saving.minutes
        )

    def _save(self) -> None:
        """Logs, then the state that they belong to: on resume, what the logs have of later steps is cut off."""
        state = self._state()
        if self.processes.first:
            self.folder.append("steps", self.log)
            self.folder.save_state(state)
        self.log = []
        self.saved = (self.progress.step, time.monotonic())
        self.processes.go_on = self._saved_at()

    def _saved_at(self) -> str:
        return f"the last state that was saved is of step {self.progress.step}. {self._go_on()}"

    def _go_on(self) -> str:
        return f"Go on with: eml train {self.folder.path / 'config.yaml'} --resume"

    def _state(self) -> dict[str, Any]:
        """What one process alone would save, whoever holds its parts; in other processes than the first of no use."""
        random = self.processes.all_gather(random_state(self.device))
        state = {
            "config": decisive(self.config),
            "table": self.table_digest,
            "progress": asdict(self.progress),
            "embedder": self.embedder.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random[0],
            "random_of_others": random[1:],
        }
        return gather_state(state, self.embedder, self.head, self.optimizer, self.processes)

    def _restore(self, *, accept_changes: bool) -> None:
        """Take up a saved state. Raises CheckpointError when config or table are not those it was made with."""
        state: dict[str, Any] = {}
        changes: list[str] = []
        if self.processes.first:
            state, changes = self._saved_state(accept_changes=accept_changes)
        shared = (self.embedder, self.head, self.optimizer, self.processes)
        self._load(scatter_state(state, *shared, self.folder.path))
        if self.processes.first:
            self.folder.cut(self.progress.step, self.progress.closed_epochs)
            if changes:
                self.folder.note_changes(self.config, self.progress.step, changes)
        self.processes.go_on = self._saved_at()
        self.observe(Note(f"resumed at step {self.progress.step} of {self.steps}"))

    def _saved_state(self, *, accept_changes: bool) -> tuple[dict[str, Any], list[str]]:
        """The state in the folder, and what differs from when it was saved, a line each."""
        self.folder.sweep()
        state, warning = self.folder.load_state()
        if warning:
            self.observe(Note(warning))
        changes = changes_of(state["config"], self.config)
        if changes and not accept_changes:
            raise CheckpointError(
                [
                    f"{self.folder.path}: cannot go on with another config, it would end elsewhere. What differs:",
                    *changes,
                    f"resume with its own: eml train {self.folder.path / 'config.yaml'} --resume; or, if the change is "
                    "meant, add --accept-changes",
                ]
            )
        if state["table"] != self.table_digest:
            raise CheckpointError(f"{self.table.name}: is not the table that the run in {self.folder.path} began with")
        if (before := 1 + len(state.get("random_of_others", []))) != self.processes.world:
            changes.append(f"  processes: {before} → {self.processes.world}")
        return state, changes

    def _load(self, state: dict[str, Any]) -> None:
        try:
            self.embedder.load_state_dict(state["embedder"])
            self.head.load_state_dict(state["head"])
            load_optimizer(self.optimizer, state["optimizer"])
            if self.ema is not None:
                self.ema.module.load_state_dict(state["ema"] or state["embedder"])
        except (RuntimeError, ValueError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.folder.path}: its state does not fit the changed config: {first}") from error
        self.scaler.load_state_dict(state["scaler"])
        self.progress = TrainingState(**state["progress"])
        random = [state["random"], *state.get("random_of_others", [])]
        if len(random) != self.processes.world:
            self.observe(Note(f"saved by {_processes(len(random))}, goes on with {_processes(self.processes.world)}"))
            self.processes.reseed(self.config.seed, self.progress.step)
        elif len(random[self.processes.rank]) == len(random_state(self.device)):  # else it was another kind of device
            set_random_state(self.device, random[self.processes.rank])

    def _leave_if_stopped(self) -> None:
        if any(self.processes.any_rank(self.stopped())):
            raise Interrupted(f"stopped at step {self.progress.step} of {self.steps}, state saved. {self._go_on()}")

    def facts(self) -> dict[str, Any]:
        """What is trained, on what, on which device: for run.json."""
        validation = self.sets.validation
        return {
            "seed": self.config.seed,
            "device": str(self.device),
            "processes": self.processes.world,
            "batch_per_process": -(-self.config.batch_size // self.processes.world),
            "precision": str(self.embedding.precision or torch.float32).removeprefix("torch."),
            "table": table_facts(self.table),
            "train_images": len(self.sets.frame),
            "train_classes": len(self.sets.classes),
            "validation_queries": len(validation.queries) if validation else 0,
            "validation_protocol": validation.protocol if validation else None,
            "parameters": sum(parameter.numel() for parameter in self.embedder.parameters()),
            "embedding_size": self.embedder.size,
            "scale": self.head.scale,
        }

    def _log_timing(self, epoch: int, seconds: float, count: int, what: str = "training") -> None:
        if not self.processes.first:
            return
        rate = round(count / seconds, 1) if seconds else None
        line = {"epoch": epoch, "step": self.progress.step, "what": what, "seconds": round(seconds, 2)}
        self.folder.append("timings", [line | {"images_per_second": rate}])

    def _result(self) -> Result:
        by_epoch = {line["epoch"]: line for line in self.progress.validations}
        return Result(
            self.folder.path,
            by_epoch.get(0),
            by_epoch.get(self.progress.best_epoch),
            self.progress.best_epoch if self.validation else self.progress.closed_epochs,
            self.validation.shown,
            self.validation.verdict(self.progress),
        )


def _numbers(line: Line) -> dict[str, float]:
    """What trackers are told of a step."""
    rates = {f"learning_rate/{part}": rate for part, rate in line["lr"].items()}
    return rates | {f"training/{key}": each for key, each in line.items() if isinstance(each, float)}


def _workers(config: RunConfig, device: torch.device, sharing: int) -> int:
    """sharing: how many processes of the run share this machine's cores."""
    if config.data.workers != "auto":
        return config.data.workers
    return 0 if device.type == "cpu" else max(1, min(8, torch.multiprocessing.cpu_count() // sharing))


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
