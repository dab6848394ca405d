"""One training run, read from top to bottom."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eml.dataset.table import Table
from eml.engine.config import RunConfig
from eml.engine.evaluation import evaluate
from eml.engine.events import Note, Observer, Started, Stepped, Validated, Validating
from eml.engine.optimizer import build_optimizer, check_optimizer, learning_rate_factor, set_learning_rates
from eml.engine.run_folder import Line, RunFolder, remove_folder, table_facts
from eml.engine.sets import TrainingSets, pictures, training_sets
from eml.errors import CheckpointError, ConfigError, EmlError, Interrupted
from eml.images.loading import Shuffled, batches, normalise
from eml.images.preprocess import Preprocess
from eml.models.checkpoint import find_checkpoint, point, save_checkpoint
from eml.models.device import find_device
from eml.models.embedder import Embedder, build_embedder, check_backbone, default_preprocess
from eml.models.head import ClassHead
from eml.models.loss_checks import check_loss, smoothing_warning
from eml.models.model import Model
from eml.retrieval.metrics import all_metrics


@dataclass(frozen=True)
class Result:
    """What a finished run leaves; metrics are None without validation. best: of the checkpoint that `best` names."""

    folder: Path
    before: dict[str, float] | None
    best: dict[str, float] | None
    best_epoch: int
    shown: dict[str, str]


@dataclass
class Progress:
    """Where a run stands: all of it is saved, so all of it can be taken up again.

    step: optimizer steps taken. closed_epochs: the last epoch whose validation and checkpoint are done; epoch 0 is the
    validation of the untrained network.
    """

    step: int = 0
    closed_epochs: int = -1
    best_epoch: int = 0
    best_value: float = -math.inf
    validations: list[Line] = field(default_factory=list)


def fit(
    config: RunConfig,
    table: Table,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
) -> Result:
    """Train as the config says and leave a run folder; on resume, go on from its state to the same end bit for bit.

    Raises EmlError for what the user can mend, Interrupted after Ctrl-C or SIGTERM with the state saved.
    """
    return Run(config, table, observe, resume=resume).run(overwrite=overwrite)


def check(config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """What only timm, this machine and the output folder can tell of a config, before anything is read or built.

    Raises EmlError with all problems at once.
    """
    problems: list[str] = []
    checks: list[Callable[[], object]] = [
        lambda: find_device(config.device),
        lambda: check_backbone(config.model.backbone),
        lambda: check_optimizer(config.optimizer.name),
        lambda: _check_metric(config),
        lambda: resume or RunFolder(config.output).refuse_occupied(overwrite=overwrite),
    ]
    for each in checks:
        try:
            each()
        except EmlError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def rehearse(config: RunConfig, table: Table) -> dict[str, Any]:
    """Build everything, take two steps, write nothing; returns what the run would be and how long it would take."""
    run = Run(config, table, lambda event: None)
    run.step(*next(run.batches(epoch=1, first_step=0)))  # the first one warms up
    started = time.monotonic()
    run.step(*next(run.batches(epoch=1, first_step=0)))
    seconds = time.monotonic() - started
    facts = run.facts() | _class_head_facts(run.head, min(config.batch_size, len(run.sets.frame)), run.optimizer)
    return {name: value for name, value in facts.items() if name != "table"} | {
        "image_size": run.preprocess.size,
        "batch_size": min(config.batch_size, len(run.sets.frame)),
        "steps": run.steps,
        "seconds_per_step": round(seconds, 3),
        "minutes_without_validation": round(seconds * run.steps / 60, 1),
    }


class Run:
    """A training run: its parts are built in __init__, its story is `run`."""

    def __init__(self, config: RunConfig, table: Table, observe: Observer, *, resume: bool = False) -> None:
        self.resume = resume
        self.config, self.table, self.observe = config, table, observe
        self.folder = RunFolder(config.output)
        self.device = find_device(config.device)
        self.workers = _workers(config, self.device)
        self.sets: TrainingSets = training_sets(table, config.data.fold)
        _check_metric(config)
        torch.manual_seed(config.seed)
        self.embedder: Embedder = build_embedder(
            config.model.model_copy(update={"weights": "none"}) if resume else config.model,  # the state has them
            config.image.size,
        )
        self.preprocess: Preprocess = default_preprocess(self.embedder.backbone, **dict(config.image))
        check_loss(config.margin, config.loss)
        counts = np.bincount(self.sets.labels, minlength=len(self.sets.classes)).tolist()
        self.head = ClassHead(config.margin, len(counts), self.embedder.size, config.head, counts=counts)
        self.embedder.to(self.device)
        self.head.to(self.device)
        self.optimizer = build_optimizer(config.optimizer, self.embedder, self.head)
        self.model = Model(self.embedder, self.preprocess, self.device)
        self.labels = torch.from_numpy(self.sets.labels).to(self.device)
        self.epoch_steps = len(Shuffled(len(self.sets.frame), config.batch_size, config.seed, epoch=1))
        self.steps = config.epochs * self.epoch_steps
        self.progress = Progress()
        self.stopped: Callable[[], bool] = lambda: False

    def run(self, *, overwrite: bool) -> Result:
        """Validate the untrained network, then epoch by epoch: steps, validation, checkpoint, state."""
        if self.resume:
            self._restore()
        else:
            self.folder.create(self.config, self.facts(), overwrite=overwrite)
            self._save_state()
        self.observe(
            Started(len(self.sets.frame), len(self.sets.classes), self.steps, self.epoch_steps, self.progress.step)
        )
        self.observe(Note(str(self.head.plan(self.config.batch_size))))
        if warning := smoothing_warning(self.head, self.config.loss):
            self.observe(Note(warning))
        with _stop_requests() as stopped:
            self.stopped = stopped
            for epoch in range(self.progress.closed_epochs + 1, self.config.epochs + 1):
                self._train_epoch(epoch)
                self._close_epoch(epoch)
        return self._result()

    def _train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are still to do; none in epoch 0."""
        first_step = self.progress.step - (epoch - 1) * self.epoch_steps
        if epoch == 0 or first_step == self.epoch_steps:
            return
        started, seen, log = time.monotonic(), 0, list[Line]()
        for pixels, rows in self.batches(epoch, first_step):
            line = self.step(pixels, rows)
            log.append(line)
            seen += len(rows)
            rate = seen / (time.monotonic() - started)
            self.observe(Stepped(self.progress.step, epoch, line["loss"], line["lr"]["class_weights"], rate))
            if self.stopped():
                break
        self.folder.append("steps", log)
        self._log_timing(epoch, time.monotonic() - started, seen)
        self._save_state()
        self._leave_if_stopped()

    def _close_epoch(self, epoch: int) -> None:
        """Validation and checkpoint where they are due; then the epoch is done."""
        if epoch % self.config.validation.every == 0 or epoch == self.config.epochs:
            self._validate(epoch)
            if epoch > 0:
                self._save_checkpoint(epoch)
        self.progress.closed_epochs = epoch
        self._save_state()
        if epoch < self.config.epochs:
            self._leave_if_stopped()

    def _leave_if_stopped(self) -> None:
        if self.stopped():
            raise Interrupted(
                f"stopped at step {self.progress.step} of {self.steps}, state saved. Go on with: "
                f"eml train {self.folder.path / 'config.yaml'} --resume"
            )

    def step(self, pixels: Tensor, rows: Tensor) -> Line:
        """One optimizer step on a batch."""
        factor = learning_rate_factor(self.config.schedule, self.progress.step, self.steps, self.epoch_steps)
        rates = {"backbone": 0.0, "neck": 0.0, "class_weights": 0.0} | set_learning_rates(self.optimizer, factor)
        images = normalise(pixels.to(self.device, non_blocking=True), self.preprocess)
        self.head.progress = self.progress.step / max(1, self.steps - 1)
        terms = self.head(self.embedder(images), self.labels[rows.to(self.device)])
        loss = self.config.loss(terms).mean()
        value = loss.item()
        if not math.isfinite(value):
            raise self._not_finite(value, rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.optimizer.clip is not None:
            nn.utils.clip_grad_norm_(self._trained_parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        if self.head.sampled_rows():
            rates["class_weights"] = self.config.optimizer.lr.class_weights * factor
            self.head.step(rates["class_weights"], self.config.optimizer.class_weight_decay)
        self.progress.step += 1
        return {
            "step": self.progress.step,
            "loss": value,
            "lr": rates,
            "accuracy": terms.correct.float().mean().item(),
            "target_cosine": terms.cosine_y.mean().item(),
            "target_angle": math.degrees(terms.cosine_y.clamp(-1, 1).acos().mean().item()),
            "nearest_cosine": terms.nearest.mean().item(),
        }

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch from its `first_step` on, with the modules in training mode."""
        self.embedder.train()
        if self.config.optimizer.lr.backbone == 0:
            self.embedder.backbone.eval()  # frozen means its BatchNorm statistics too
        self.head.train()
        augmenter = self.config.augment.build(self.preprocess.size)
        source = pictures(self.table, self.sets.frame, self.preprocess, augmenter=augmenter, seed=self.config.seed)
        order = Shuffled(len(self.sets.frame), self.config.batch_size, self.config.seed, epoch, first_step)
        yield from batches(source, order, self.workers)

    def _validate(self, epoch: int) -> None:
        """Retrieval on the held-out fold; nothing without one."""
        if self.sets.validation is None:
            return
        started, done, total = time.monotonic(), 0, len(self.sets.validation.frame)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.observe(Validating(done, total))
            self._leave_if_stopped()

        summary = evaluate(
            self.model,
            self.table,
            self.sets.validation,
            batch_size=self.config.validation.batch_size,
            workers=self.workers,
            progress=advance,
        )
        value = summary.values[self.config.validation.metric]
        best = epoch > 0 and value > self.progress.best_value
        if best:
            self.progress.best_epoch, self.progress.best_value = epoch, value
        line = {"epoch": epoch, "step": self.progress.step, **summary.values}
        self.progress.validations.append(line)
        self.folder.append("metrics", [line | {"queries": summary.queries, "protocol": self.sets.validation.protocol}])
        self._log_timing(epoch, time.monotonic() - started, total, what="validation")
        self.observe(Validated(epoch, summary.values, summary.shown, best))

    def _save_checkpoint(self, epoch: int) -> None:
        """Write the epoch's checkpoint, move `last` and perhaps `best` to it, drop those that neither names."""
        values = dict(self.progress.validations[-1]) if self.progress.validations else {"epoch": epoch}
        target = self.folder.checkpoints / f"epoch-{epoch:03d}"
        save_checkpoint(target, self.embedder, self.config.model, self.preprocess, self.sets.classes, values)
        point(self.folder.checkpoints / "last", target)
        if self.sets.validation is None or self.progress.best_epoch == epoch:
            point(self.folder.checkpoints / "best", target)
        kept = {find_checkpoint(self.folder.checkpoints / name) for name in ("best", "last")}
        for folder in self.folder.checkpoints.glob("epoch-*"):
            if folder not in kept:
                remove_folder(folder)

    def _save_state(self) -> None:
        self.folder.save_state(
            {
                "config": self._decisive_config(),
                "table": self.table.digest,
                "step": self.progress.step,
                "closed_epochs": self.progress.closed_epochs,
                "best_epoch": self.progress.best_epoch,
                "best_value": self.progress.best_value,
                "validations": self.progress.validations,
                "embedder": self.embedder.state_dict(),
                "head": self.head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            }
        )

    def _restore(self) -> None:
        """Take up a saved state. Raises CheckpointError when config or table are not those it was made with."""
        state = self.folder.load_state()
        differing = sorted(
            key for key, value in self._decisive_config().items() if state["config"].get(key, value) != value
        )
        if differing:
            raise CheckpointError(
                f"{self.folder.path}: cannot be resumed with another config; these differ: {', '.join(differing)}. "
                f"Resume with the run's own: eml train {self.folder.path / 'config.yaml'} --resume"
            )
        if state["table"] != self.table.digest:
            raise CheckpointError(f"{self.table.name}: is not the table that the run in {self.folder.path} began with")
        self.embedder.load_state_dict(state["embedder"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["random_cuda"])
        self.progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__})
        self.folder.cut(self.progress.step, self.progress.closed_epochs)
        self.observe(Note(f"resumed at step {self.progress.step} of {self.steps}"))

    def _decisive_config(self) -> dict[str, Any]:
        """The config without what does not change the result: where it goes, where it runs, how it is loaded."""
        values = self.config.model_dump(mode="json", exclude={"output": True, "device": True, "data": {"workers"}})
        return {
            f"{key}.{name}" if name else key: inner
            for key, value in values.items()
            for name, inner in (value.items() if isinstance(value, dict) else [("", value)])
        }

    def _trained_parameters(self) -> list[Tensor]:
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return trained + self.head.sampled_rows()

    def _not_finite(self, value: float, rows: Tensor) -> EmlError:
        names = self.sets.frame["file_name"].iloc[rows.tolist()].tolist()
        return EmlError(
            f"step {self.progress.step + 1}: the loss is {value}; the state saved last is that of an epoch's end. "
            f"Start a new run with lower optimizer.lr or with optimizer.clip: 5. The batch: {', '.join(names[:4])}, …"
        )

    def facts(self) -> dict[str, Any]:
        """What is trained, on what, on which device: for run.json."""
        validation = self.sets.validation
        return {
            "seed": self.config.seed,
            "device": str(self.device),
            "table": table_facts(self.table),
            "train_pictures": len(self.sets.frame),
            "train_classes": len(self.sets.classes),
            "validation_queries": len(validation.queries) if validation else 0,
            "validation_protocol": validation.protocol if validation else None,
            "parameters": sum(parameter.numel() for parameter in self.embedder.parameters()),
            "embedding_size": self.embedder.size,
            "scale": self.head.scale,
        }

    def _log_timing(self, epoch: int, seconds: float, count: int, what: str = "training") -> None:
        rate = round(count / seconds, 1) if seconds else None
        line = {"epoch": epoch, "step": self.progress.step, "what": what, "seconds": round(seconds, 2)}
        self.folder.append("timings", [line | {"pictures_per_second": rate}])

    def _result(self) -> Result:
        by_epoch = {line["epoch"]: line for line in self.progress.validations}
        return Result(
            self.folder.path,
            by_epoch.get(0),
            by_epoch.get(self.progress.best_epoch),
            self.progress.best_epoch if self.sets.validation else self.config.epochs,
            {key: name for metric in all_metrics() for key, name in metric.shown().items()},
        )


def _class_head_facts(head: ClassHead, batch_size: int, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """How the class head works, what memory it takes (MiB) and its own share of a step's time (seconds)."""
    state = optimizer.state.get(head.class_weights, {})
    copies = sum(1 for each in state.values() if isinstance(each, Tensor) and each.shape == head.class_weights.shape)
    memory = {name: round(size / 2**20, 1) for name, size in head.memory_needed(batch_size, copies).items()}
    device = head.class_weights.device
    embeddings = torch.randn(batch_size, head.embedding_size, device=device, requires_grad=True)
    labels = torch.randint(head.num_classes, (batch_size,), device=device)
    started = time.monotonic()
    head(embeddings, labels).log_sum_exp.sum().backward()
    seconds = time.monotonic() - started
    return {
        "class_head": str(head.plan(batch_size)).removeprefix("class head: "),
        **{f"class_head_{name}_mib": size for name, size in memory.items()},
        "class_head_seconds_per_step": round(seconds, 4),
    }


def _workers(config: RunConfig, device: torch.device) -> int:
    if config.data.workers != "auto":
        return config.data.workers
    return 0 if device.type == "cpu" else min(8, torch.multiprocessing.cpu_count())


def _check_metric(config: RunConfig) -> None:
    known = [name for metric in all_metrics() for name in metric.shown()]
    if config.data.fold is not None and config.validation.metric not in known:
        raise ConfigError(f"validation.metric: unknown metric {config.validation.metric!r}; known: {', '.join(known)}")


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """While open, the first SIGINT or SIGTERM is only noted (a second one kills as usual); yields whether one came."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
