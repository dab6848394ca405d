"""One training run, from top to bottom: `Run.run`, an epoch, a step, a validation.

Its parts are built in `build.py`; `run_state.py` saves and restores them.
"""

import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eml.config.plugins import exits_refused
from eml.dataset.table import Table
from eml.devices import synchronize, to_device
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import DataError, Interrupted
from eml.files import from_here
from eml.images.identify import IMAGE_CODES
from eml.images.image_size import pixel_count
from eml.images.loading import normalise
from eml.images.loading_team import kept_workers
from eml.images.loading_workers import WorkerLostError
from eml.inference.embed import Batching
from eml.losses import Terms
from eml.models.checkpoint import load_checkpoint
from eml.models.trained_on import record_facts, write_record
from eml.stopping import advice_for_run, saving
from eml.trackers.base import Tracking
from eml.training.batches import TrainingBatches
from eml.training.build import RunParts, build_parts
from eml.training.checks import check, run_notes
from eml.training.compatibility.measure import CompatibilityResult, measure_compatibility
from eml.training.compatibility.old_model import FACTS as OLD_MODEL_FACTS
from eml.training.config import RunConfig
from eml.training.distillation.distiller import references_folder
from eml.training.distillation.teacher import FACTS as TEACHER_FACTS
from eml.training.events import Note, Observer, Preparing, Started, Stepped, Validated, Validating
from eml.training.facts import RunFacts
from eml.training.minutes import plan_length
from eml.training.nan_check import NotFiniteError
from eml.training.optimizer import learning_rate_factor, set_learning_rates
from eml.training.provenance import collect_record, restore_record
from eml.training.rate_trial import RateTrial, recorded_rate, try_rates, with_rate
from eml.training.recipe import apply_recipe
from eml.training.results import TrainingResult
from eml.training.run_folder import STAGE_CHECKPOINTS, Line, RunFolder, plugin_facts, table_facts
from eml.training.run_state import RunSaver, last_loss, restore_state, resume_command
from eml.training.stages.choosing import StagedOutcome
from eml.training.stages.class_starts import start_classes
from eml.training.stages.refit import Refit, is_refitted
from eml.training.stages.rotation import fold_config, rotate_folds, rotated_folds
from eml.training.stages.staging import Staging, stages_notes, stages_problem
from eml.training.starting_point import FROM_A_RUN, UNTRAINED, earlier_record, starting_note, starting_run
from eml.training.state import TrainingState
from eml.training.step import batch_loss, check_finite, clip_gradient, mix_images, update_weights
from eml.training.stop_signals import stop_requests
from eml.training.to_try import to_try
from eml.training.validation import Loading

__all__ = ["Run", "TrainingResult", "check", "fit"]


@kept_workers()
@exits_refused()
def fit(
    config: RunConfig,
    table: Table,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
    processes: Processes = SINGLE_PROCESS,
    command: str | None = None,
) -> TrainingResult:
    """Train as the config says and write a run folder.

    Args:
        config: Of the run.
        table: The images' table, as `table_to_train_on` returns it.
        resume: Continue from the state in the run folder; the result is the same bit for bit.
        accept_changes: Resume with a config that changes the result.
        overwrite: Replace a run in the run folder.
        observe: Receives the events of the run.
        processes: That have met; all of them call this with the same arguments, and the first one writes and is
            observed.
        command: The command line that trains so, for run.json.

    Raises:
        EmlError: Something is wrong that the user can fix.
        Interrupted: After Ctrl-C or SIGTERM, with the state saved.
    """
    config, lines = apply_recipe(config, table)
    observe = observe if processes.first else lambda event: None
    for line in lines:
        observe(Note(line))
    config, trial = _with_rate(config, table, observe, processes, resume=resume)
    config = plan_length(config, table, processes, take_steps, resume=resume, note=lambda line: observe(Note(line)))
    rotation = rotated_folds(config, table)
    parts = build_parts(config, table, resume=resume, processes=processes)
    run = Run(parts, observe, command, trial, is_rotated=bool(rotation))
    result = run.run(resume=resume, overwrite=overwrite, accept_changes=accept_changes)
    if rotation and run.staging:
        result = run.rotate(rotation, table)
    return run.refit(result, table)


def take_steps(parts: RunParts, count: int) -> float:
    """Take one step, then so many more on the same batch; return the seconds of these. The networks change."""
    run = Run(parts)
    run.step(*next(run.batches.of_epoch(epoch=1, first_step=0)))
    synchronize(parts.device)
    started = time.monotonic()
    for _ in range(count):
        run.step(*next(run.batches.of_epoch(epoch=1, first_step=0)))
    synchronize(parts.device)
    return time.monotonic() - started


def _with_rate(
    config: RunConfig, table: Table, observe: Observer, processes: Processes, *, resume: bool
) -> tuple[RunConfig, RateTrial | None]:
    """Return the config with the best of its candidate rates, and their trials; on resuming, with the rate of then."""
    if resume:
        rate = processes.from_first(lambda: recorded_rate(RunFolder(config.output).facts()))
        return with_rate(config, config.optimizer.lr.backbone if rate is None else rate), None
    config, trial = try_rates(config, table, Run, processes)
    if trial is not None:
        observe(Note(trial.text))
    return config, trial


class Run:
    """A training run.

    Each of several processes has its part of every batch and of the classes; the first one writes.

    Args:
        parts: Everything that the run works with.
        observe: Receives the events of the run.
        command: The command line that trains so, for run.json.
        trial: By which the learning rate was chosen, for run.json.
        is_rotated: Whether its fold is one of several that are held out in turn, which are chosen by together.
    """

    def __init__(
        self,
        parts: RunParts,
        observe: Observer = lambda event: None,
        command: str | None = None,
        trial: RateTrial | None = None,
        *,
        is_rotated: bool = False,
    ) -> None:
        self.parts, self.observe, self.command, self.trial = parts, observe, command, trial
        self.state = TrainingState()
        self.start = FROM_A_RUN if starting_run(parts.config) else UNTRAINED
        self.folder = RunFolder(parts.config.output)
        self.saver = RunSaver(parts, self.folder)
        self.tracking = Tracking(self.note)
        self.batches = TrainingBatches(parts)
        self.is_stopped: Callable[[], bool] = lambda: False
        self.staging: Staging | None = None
        if parts.config.stages == "auto" and not stages_problem(parts):
            self.staging = Staging(parts, self.folder, self.saver, self.report_embedding, self.note)
        self.staged: StagedOutcome | None = None
        self.compatibility: CompatibilityResult | None = None
        self.is_rotated = is_rotated

    def run(self, *, resume: bool = False, overwrite: bool = False, accept_changes: bool = False) -> TrainingResult:
        """Validate the network before training, then train epoch by epoch: steps, validation, checkpoint, state."""
        parts, first = self.parts, self.parts.processes.first
        with self.folder.held() if first else nullcontext(), advice_for_run(), self.kept_workers():
            self.begin(resume=resume, overwrite=overwrite, accept_changes=accept_changes)
            trackers = parts.config.trackers if first else ()
            self.tracking.open(trackers, self.folder.path, parts.config.model_dump(mode="json"), resumed=resume)
            with stop_requests() as self.is_stopped, closing(self.tracking), self.lost_workers_reported():
                self.ask_teacher()
                for epoch in range(self.state.closed_epochs + 1, parts.config.epochs + 1):
                    if self.state.ended:
                        break
                    self.train_epoch(epoch)
                    self.close_epoch(epoch)
                self.measure_best()
                self.compatibility = measure_compatibility(
                    parts, self.folder, self.best_epoch, self.state.closed_epochs, self.report_embedding
                )
                if self.staging and self.is_rotated:
                    self.staging.collect(self.state, self.state.closed_epochs)
                elif self.staging:
                    self.staged = self.staging.finish(self.state)
            result = self.result()
            if first and not (self.is_rotated and self.staging) and not self.has_refit(result):
                self.record_end(result)
        return result

    def rotate(self, folds: Sequence[int], table: Table) -> TrainingResult:
        """Hold out the other folds in turn too, choose by all classes, and return the result with that."""
        assert self.staging is not None, "only a run in stages is rotated"

        def train(fold: int) -> tuple[Staging, TrainingState]:
            config = fold_config(self.parts.config, fold)
            self.note(f"few classes: fold {fold} is held out in turn, in {config.output}")
            run = self.sub_run(config, table, is_rotated=True)
            assert run.staging is not None, "as the run itself"
            return run.staging, run.state

        self.staged = rotate_folds((self.staging, self.state), folds, train)
        result = self.result()
        if self.parts.processes.first and not self.has_refit(result):
            self.record_end(result)
        return result

    def sub_run(self, config: RunConfig, table: Table, *, is_rotated: bool = False) -> "Run":
        """Train as another config says, or resume that where it was begun; return the finished run."""
        processes = self.parts.processes
        resume = processes.from_first(lambda: RunFolder(config.output).is_begun(config))
        run = Run(build_parts(config, table, resume=resume, processes=processes), self.observe, is_rotated=is_rotated)
        run.run(resume=resume, overwrite=not resume)
        return run

    def refit(self, result: TrainingResult, table: Table) -> TrainingResult:
        """Train on all classes with what the stages chose, where the config says so; return the result with that."""
        parts, staged = self.parts, self.staged
        if staged is None or not self.has_refit(result):
            return result

        def train(config: RunConfig) -> RunParts:
            self.note(f"refit on all classes, in {from_here(config.output)}")
            return self.sub_run(config, table).parts

        text = Refit(parts, self.folder, staged, self.saver.record, self.note).run(train)
        stages = replace(staged.result, refit=text)
        result = replace(result, stages=stages)
        if parts.processes.first:
            self.record_end(result)
        return result

    def has_refit(self, result: TrainingResult) -> bool:
        """Return whether training on all classes follows; until then the run is not finished."""
        staged = self.staged
        return staged is not None and is_refitted(self.parts.config, staged, result.questions[result.decides])

    def begin(self, *, resume: bool, overwrite: bool, accept_changes: bool) -> None:
        """Restore the saved state or create the run folder, fill the caches, and report the plan."""
        parts = self.parts
        if resume:
            self.restore(accept_changes=accept_changes)
        elif parts.processes.first:
            self.folder.refuse_occupied(overwrite=overwrite)
        parts.processes.after_first(lambda: self.batches.fill_caches(self.observe))
        if not resume:
            if parts.processes.first:
                self.create_folder(overwrite=overwrite)
            self.saver.save(self.state)
        images, classes = len(parts.data.frame), len(parts.data.classes)
        loss = last_loss(self.folder) if resume and parts.processes.first else None
        self.observe(Started(images, classes, parts.steps, parts.steps_per_epoch, self.state.step, loss))
        texts = [] if parts.head.texts is None else [parts.head.texts.describe()]
        for line in (str(parts.head.plan(parts.config.batch_size)), *texts, *run_notes(parts)):
            self.note(line)
        if note := self.batches.rereading():
            self.note(note)
        if not resume and (note := starting_note(parts.config, earlier_record(parts.config))):
            self.note(note)
        for line in stages_notes(parts):
            self.note(line)
        for name, question in parts.validation.questions.items():
            self.note(f"validation on {name or 'the held-out fold'}: {question.text}")
        if note := parts.validation.note:
            self.note(note)

    def ask_teacher(self) -> None:
        """Compute the embeddings of the training images by the teacher and the older model, or read the kept ones."""
        parts, state = self.parts, self.state
        if state.ended or state.closed_epochs >= parts.config.epochs:
            return
        for model in (parts.distiller, parts.compatibility):
            if model is None:
                continue
            started = time.monotonic()
            references = model.prepare(
                references_folder(parts.config),
                batching=Batching(workers=parts.workers, processes=parts.processes),
                progress=self.preparing,
                report=self.note,
            )
            if references.computed:
                seconds = time.monotonic() - started
                self.saver.log_timing("teacher", max(0, state.closed_epochs), state.step, seconds, references.computed)
            self.note(model.text)

    @contextmanager
    def preparing(self, description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Report the progress of work before the first step; end where the user stopped the run."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.observe(Preparing(description, done, total))
            if self.parts.processes.world == 1:  # of several, the first one alone reads the files' hashes
                self.leave_if_stopped()

        yield advance

    def create_folder(self, *, overwrite: bool) -> None:
        """Create the run folder, with the record of what the run is trained on."""
        parts = self.parts
        record = self.saver.record = collect_record(parts, self.note)
        facts = {"command": self.command} | RunFacts.of(parts).to_dict() | {"table": table_facts(parts.table)}
        facts["plugins"] = plugin_facts(parts.config.plugins)
        facts["starts_from"] = str(start) if (start := starting_run(parts.config)) else None
        facts["trained_on"] = record_facts(record, ()).model_dump()
        facts |= self.other_models()
        if self.trial is not None:
            facts["rate_trial"] = self.trial.to_dict()
        for path in self.folder.create(parts.config, facts, overwrite=overwrite):
            self.note(f"removed {path}, of the run that is replaced")
        write_record(self.folder.path, record, ())

    def other_models(self) -> dict[str, Any]:
        """Return what run.json says of the teacher and of the older model."""
        distiller, compatibility = self.parts.distiller, self.parts.compatibility
        facts = {} if distiller is None else {TEACHER_FACTS: distiller.teacher.to_dict()}
        return facts if compatibility is None else facts | {OLD_MODEL_FACTS: compatibility.old.to_dict()}

    def restore(self, *, accept_changes: bool = False) -> None:
        """Load the saved state."""
        self.state = restore_state(self.parts, self.folder, self.observe, accept_changes=accept_changes)
        start = self.folder.checkpoints / STAGE_CHECKPOINTS[0]
        has_begun = self.state.closed_epochs >= 0
        if self.staging and has_begun and not self.parts.processes.from_first(start.is_dir):
            self.note("stages are off: the run began without them, so its untouched network is not kept")
            self.staging = None
        if self.parts.processes.first:
            self.saver.record = restore_record(self.parts, self.folder)
            if models := self.other_models():
                self.folder.update_facts(models)
            self.folder.update_facts(RunFacts.of(self.parts, self.state.since).of_images())
            if "finished" in self.folder.facts():  # and is trained for longer now
                self.folder.update_facts({"finished": None})

    @contextmanager
    def lost_workers_reported(self) -> Iterator[None]:
        """Save the state when a process that loads images, or an image, is lost, and say how to go on."""
        try:
            yield
        except WorkerLostError as error:
            self._save_alone()
            workers = self.parts.workers
            resume_with = resume_command(self.folder, "--set", f"data.workers={workers // 2}")
            raise DataError(
                f"data.workers: {error.cause}; it was one of {workers}. The last saved state is of step "
                f"{self.saver.saved_step}. {resume_with}",
                code="worker-died",
                parameter="data.workers",
            ) from error
        except DataError as error:
            if error.code not in IMAGE_CODES:
                raise
            self._save_alone()
            scan = shlex.join(["eml", "scan", str(self.parts.table.root)])
            raise DataError(
                f"{error}. The file is not as it was when the table was made. Put it back; the last saved state is of "
                f"step {self.saver.saved_step}. {resume_command(self.folder)}. Or leave it out and train anew: "
                f"{scan}, and the commands after it",
                code=error.code,
            ) from error

    def _save_alone(self) -> None:
        """Save the state, unless several processes do it together."""
        if self.parts.processes.world == 1:
            self.saver.save(self.state)

    def kept_workers(self) -> AbstractContextManager[None]:
        """Return a context in which the processes that load images live through epochs and validations."""
        config, pixels = self.parts.config, pixel_count(self.parts.preprocess.size)
        return kept_workers(self.parts.workers, max(config.batch_size, config.validation.batch_size) * pixels * 3)

    def train_epoch(self, epoch: int) -> None:
        """Take the steps of an epoch that are still to do; none in epoch 0."""
        first_step = self.state.step - (epoch - 1) * self.parts.steps_per_epoch
        if epoch == 0 or first_step == self.parts.steps_per_epoch:
            return
        started, images = time.monotonic(), 0
        for pixels, rows in self.batches.of_epoch(epoch, first_step):
            try:
                line = self.step(pixels, rows)
            except NotFiniteError:
                self.saver.save(self.state)
                raise
            images += len(rows) * self.parts.processes.world  # roughly, where a batch is not shared evenly
            self.report_step(epoch, line, images / (time.monotonic() - started))
            save = self.parts.processes.first and self.saver.is_due(self.state.step)
            stop, save = self.parts.processes.any_rank(self.is_stopped(), save)
            if stop:
                break
            if save:
                self.saver.save(self.state)
        self.saver.log_timing("training", epoch, self.state.step, time.monotonic() - started, images)
        with saving():  # the others wait for the first process, which writes
            self.saver.save(self.state)
            self.leave_if_stopped()

    def step(self, pixels: Tensor, rows: Tensor) -> Line:
        """Take one optimizer step on a batch; return its line of the log."""
        with self.parts.config.cuda.in_effect(self.parts.device):
            return self._step(pixels, rows)

    def _step(self, pixels: Tensor, rows: Tensor) -> Line:
        parts, config, step = self.parts, self.parts.config, self.state.step
        factor = learning_rate_factor(config.schedule, step, parts.steps, parts.steps_per_epoch)
        own_rate = config.optimizer.lr.class_weights if parts.head.texts is None else 0.0
        rates = set_learning_rates(parts.optimizer, factor, class_weights=own_rate)
        parts.snapshot.remember()
        parts.head.start_step(step, parts.steps)
        images = normalise(to_device(pixels, parts.device), parts.preprocess)
        images, mixed = mix_images(parts, images, step)
        labels = parts.labels[rows]
        embeddings = parts.gradient_cache.forward(images)
        counts = self.batches.counts
        loss, statistics = batch_loss(parts.head, config.loss, embeddings, labels, mixed, counts)
        of_teacher: dict[str, Tensor] = {}
        if parts.distiller is not None:
            loss, of_teacher = parts.distiller.add_to(
                loss, embeddings, rows, mixed=mixed, shard=parts.head.shard, counts=counts
            )
        if parts.compatibility is not None:
            loss, of_old = parts.compatibility.add_to(loss, embeddings, labels, rows, mixed=mixed, counts=counts)
            of_teacher |= of_old
        parts.optimizer.zero_grad(set_to_none=True)
        parts.scaler.scale(loss).backward()
        parts.gradient_cache.backward(embeddings)
        norm = clip_gradient(parts)
        results = torch.stack([loss.detach(), norm, *statistics, *of_teacher.values()])
        self.batches.fetch_next()
        values = results.tolist()  # the only wait for the device
        check_finite(parts, step + 1, values[0], values[1], images, rows)
        update_weights(parts, step + 1, rates["class_weights"], overflowed=not math.isfinite(values[1]))
        self.state.step += 1
        # None: the norm of a gradient that overflowed in float16.
        finite = [value if math.isfinite(value) else None for value in values]
        names = ("loss", "gradient_norm", *Terms.STATISTICS, *of_teacher)
        return {"step": step + 1, "lr": rates} | dict(zip(names, finite, strict=True))

    def close_epoch(self, epoch: int) -> None:
        """Validate and write a checkpoint where they are due, then mark the epoch as done."""
        config = self.parts.config
        if epoch % self.parts.validation.every == 0 or epoch == config.epochs:
            self.validate(epoch)
            if epoch > 0:
                self.saver.save_checkpoint(epoch, self.state)
            elif self.staging:
                self.staging.open(self.state)
        if epoch == 0:
            fit = start_classes(self.parts, self.note)
            if fit is not None and self.parts.processes.first:
                self.folder.update_facts({"class_texts": fit.to_dict()})
        self.state.closed_epochs = epoch
        with saving():
            self.saver.save(self.state)
            if epoch < config.epochs:
                self.leave_if_stopped()

    def validate(self, epoch: int) -> None:
        """Measure retrieval on the held-out fold and the other tables, if there are any; all images before training."""
        parts, validation = self.parts, self.parts.validation
        if not validation:
            return
        started, images = time.monotonic(), validation.whole_images if epoch == 0 else validation.images
        measured = validation.measure(parts.model, self.loading(images), whole=epoch == 0)
        if measured.whole:
            self.state.whole["before"] = {"epoch": epoch, "step": self.state.step, **measured.whole}
        choosing = self.staging.add_epoch(epoch, measured.per_query, self.state) if self.staging else None
        best = self.state.add_validation(
            epoch, measured.values, validation.metric, measured.per_query, choosing=choosing
        )
        if parts.processes.first:
            self.folder.append("metrics", [self.state.validations[-1] | measured.facts])
        self.saver.log_timing("validation", epoch, self.state.step, time.monotonic() - started, images)
        self.observe(Validated(epoch, measured.values, validation.shown, best, self.start))
        self.tracking.write(self.state.step, {f"validation/{key}": value for key, value in measured.values.items()})
        self.end_without_new_best(epoch)

    def loading(self, images: int) -> Loading:
        """Return how so many images of a validation are read, with its progress reported."""
        parts = self.parts
        progress = partial(self.report_embedding, total=images)
        return Loading(parts.workers, self.batches.sources, progress, parts.processes)

    def measure_best(self) -> None:
        """Measure the best epoch on all images of the sets of which a part was measured after each epoch."""
        parts, state = self.parts, self.state
        names = parts.validation.parts.keys() - ({parts.validation.decides} if self.staging else set())
        epoch = state.best_epoch
        if not names or epoch == 0 or state.whole.get("best", {}).get("epoch") == epoch:
            return
        started, images = time.monotonic(), sum(len(parts.validation.sets[name][1].frame) for name in names)
        model = parts.model
        if epoch != state.closed_epochs:
            checkpoint = parts.processes.from_first(lambda: load_checkpoint(self.folder.checkpoint(epoch)))
            model = parts.model.with_network(checkpoint.embedder)
        measured = parts.validation.measure_whole(model, self.loading(images), names)
        line = next(line for line in reversed(state.validations) if line["epoch"] == epoch)
        state.whole["best"] = {"epoch": epoch, "step": line["step"], **measured.whole}
        state.best |= measured.per_query
        self.saver.log_timing("validation", state.closed_epochs, state.step, time.monotonic() - started, images)
        with saving():
            self.saver.save(state)

    def end_without_new_best(self, epoch: int) -> None:
        """End the training when the last validations brought no new best."""
        patience, since = self.parts.config.validation.patience, self.state.validations_since_best()
        if epoch > 0 and patience is not None and since >= patience and epoch < self.parts.config.epochs:
            self.state.ended = True
            self.note(f"no new best in {since} validations: training ends with epoch {epoch}")

    def leave_if_stopped(self) -> None:
        """Raise Interrupted when a process got Ctrl-C or SIGTERM."""
        if any(self.parts.processes.any_rank(self.is_stopped())):
            raise Interrupted(
                f"stopped at step {self.state.step} of {self.parts.steps}, state saved. {resume_command(self.folder)}"
            )

    def record_end(self, result: TrainingResult) -> None:
        """Write into run.json that the run ended, and whether training helped."""
        finished = {
            "epochs": self.state.closed_epochs,
            "best_epoch": result.best_epoch,
            "whole": self.state.whole if self.staged is None else {"before": result.before, "best": result.best},
            "verdicts": {
                name: verdict.to_dict()
                for name, verdict in result.verdicts.items()
                if math.isfinite(verdict.low) and math.isfinite(verdict.high)  # not with a single class
            },
        }
        stages = {} if result.stages is None else {"stages": result.stages.to_dict()}
        self.folder.update_facts(stages | {"finished": finished})

    def result(self) -> TrainingResult:
        """Return the result of the finished run."""
        state, validation, staged = self.state, self.parts.validation, self.staged
        before, best = state.figures_of("before"), state.figures_of("best")
        verdicts = validation.verdicts(state, self.start)
        if staged is not None:
            before, best = (
                staged.values_beside(before, validation.decides),
                staged.values_beside(best, validation.decides, after=True),
            )
            own = staged.verdict(validation.questions[validation.decides].text, self.start)
            verdicts |= {} if own is None else {validation.decides: own}
        return TrainingResult(
            folder=self.folder.path,
            before=before,
            best=best,
            best_epoch=self.best_epoch,
            shown=validation.shown,
            questions=validation.questions,
            verdicts=verdicts,
            decides=validation.decides,
            stages=None if staged is None else staged.result,
            to_try=to_try(
                self.parts.config,
                images=len(self.parts.table.frame),
                epochs=state.closed_epochs,
                best_epoch=state.best_epoch,
            ),
            compatibility=self.compatibility,
        )

    @property
    def best_epoch(self) -> int:
        """The epoch of the checkpoint that the run gives."""
        return self.state.best_epoch if self.parts.validation else self.state.closed_epochs

    def report_step(self, epoch: int, line: Line, images_per_second: float) -> None:
        """Log a step, and report it to the observer and the trackers."""
        self.saver.log_step(line)
        rates, numbers = line["lr"], {key: value for key, value in line.items() if isinstance(value, float)}
        rate = rates["class_weights"] if self.parts.head.texts is None else max(rates.values())
        teacher_cosine = line.get("teacher_cosine")
        self.observe(Stepped(self.state.step, epoch, line["loss"], rate, images_per_second, teacher_cosine))
        values = {f"learning_rate/{part}": rate for part, rate in rates.items()}
        self.tracking.write(line["step"], values | {f"training/{key}": value for key, value in numbers.items()})

    def report_embedding(self, done: int, total: int) -> None:
        """Report how many images of a validation or stage are embedded; end where the user stopped the run."""
        self.observe(Validating(done, total))
        self.leave_if_stopped()

    def note(self, text: str) -> None:
        """Report a line."""
        self.observe(Note(text))
