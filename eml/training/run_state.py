"""Saving a run's logs, state and checkpoints, and restoring its state."""

import shlex
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from torch import Tensor

from eml.config.plugins import plugin_options
from eml.distributed.processes import Processes
from eml.errors import CheckpointError
from eml.files import from_here
from eml.models.checkpoint import save_checkpoint
from eml.models.pointers import find_checkpoint
from eml.models.trained_on import TrainedOn
from eml.stopping import saving, set_advice
from eml.training.build import RunParts
from eml.training.config_changes import config_changes, decisive_settings, moved_paths
from eml.training.distributed_state import gather_state, scatter_state, whole_weights
from eml.training.events import Note, Observer
from eml.training.gradient_cache import random_state, set_random_state
from eml.training.optimizer import load_optimizer
from eml.training.run_folder import STATE_VERSION, Line, RunFolder
from eml.training.state import TrainingState
from eml.training.validation_changes import drop_incomparable_figures, set_digests


class RunSaver:
    """Writes the logs, states and checkpoints of a run; all processes call it, and the first one writes.

    Args:
        parts: Of the run.
        folder: Where they are written.

    Attributes:
        record: What the run is trained on, of which every checkpoint has a copy; set in the first process.
        saved_step: Of the last state that was saved.
    """

    record: TrainedOn | None = None

    def __init__(self, parts: RunParts, folder: RunFolder) -> None:
        self.parts, self.folder = parts, folder
        self._lines: list[Line] = []  # of steps whose state is not saved yet
        self.saved_step, self._last_time = 0, time.monotonic()

    def log_step(self, line: Line) -> None:
        """Keep the line of a step until its state is saved."""
        self._lines.append(line)

    def log_timing(self, phase: str, epoch: int, step: int, seconds: float, images: int) -> None:
        """Write how long an epoch's training or validation took."""
        if self.parts.processes.first:
            rate = round(images / seconds, 1) if seconds else None
            line = {"epoch": epoch, "step": step, "phase": phase, "seconds": round(seconds, 2)}
            self.folder.append("timings", [line | {"images_per_second": rate}])

    def is_due(self, step: int) -> bool:
        """Return whether the config says to save the state after this step."""
        saving = self.parts.config.saving
        return (saving.steps is not None and step - self.saved_step >= saving.steps) or (
            saving.minutes is not None and time.monotonic() - self._last_time >= 60 * saving.minutes
        )

    @saving()
    def save(self, state: TrainingState) -> None:
        """Write the logs, then the state that they belong to: a resumed run cuts off log lines of later steps."""
        saved = collect_state(self.parts, state)
        if self.parts.processes.first:
            self.folder.append("steps", self._lines)
            self.folder.save_state(saved)
        self._lines = []
        self.saved_step, self._last_time = state.step, time.monotonic()
        _advise(self.parts.processes, resume_hint(self.folder, state))

    @saving()
    def save_checkpoint(self, epoch: int, state: TrainingState) -> None:
        """Write the epoch's checkpoint, point `last` and perhaps `best` to it, and drop all that are neither."""
        parts, network = self.parts, self.parts.networks.evaluated
        weights = whole_weights(network, parts.processes)
        if not parts.processes.first:
            return
        metrics = dict(state.validations[-1]) if state.validations else {"epoch": epoch}
        save_checkpoint(
            self.folder.checkpoint(epoch),
            network,
            parts.config.model,
            parts.preprocess,
            parts.data.classes,
            metrics,
            weights=weights,
            trained_on=self.record,
            unknown_label=parts.table.unknown_label,
        )
        validation = parts.config.validation
        best = state.best_epochs(validation.metric, validation.keep)
        self.folder.keep_checkpoints(best or [epoch], last=epoch)


def last_loss(folder: RunFolder) -> float | None:
    """Return the loss of the last step that a run has logged; None where there is none."""
    lines = folder.read("steps")
    loss = lines[-1].get("loss") if lines else None
    return float(loss) if isinstance(loss, int | float) else None


def resume_command(folder: RunFolder, *options: str) -> str:
    """Return the advice to resume the run, with further options."""
    words = ["eml", "train", str(from_here(folder.path / "config.yaml")), "--resume", *plugin_options(), *options]
    return f"Resume with: {shlex.join(words)}"


def resume_hint(folder: RunFolder, state: TrainingState) -> str:
    """Return what to tell the user when the run is lost after this state was saved."""
    return f"the last saved state is of step {state.step}. {resume_command(folder)}"


def _advise(processes: Processes, hint: str) -> None:
    """Set what the user is told where this process, or another one, has to be ended."""
    processes.set_resume_hint(hint)
    set_advice(hint)


def collect_state(parts: RunParts, state: TrainingState) -> dict[str, Any]:
    """Return in the first process the state that a single process would save; in the others it is incomplete."""
    ema = parts.networks.ema
    collected = {
        "version": STATE_VERSION,
        "config": decisive_settings(parts.config),
        "table": parts.table_digest,
        "validation_tables": parts.validation.digests,
        "validation_sets": set_digests(parts.validation),
        "training": asdict(state),
        "embedder": parts.embedder.state_dict(),
        "ema": ema.module.state_dict() if ema else None,
        "head": parts.head.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "teacher": None if parts.distiller is None else parts.distiller.state(),
        "old_model": None if parts.compatibility is None else parts.compatibility.state(),
        "compared_texts": None if parts.head.texts is None else parts.head.texts.digest,
        "random_states": parts.processes.all_gather(random_state(parts.device)),
    }
    return gather_state(collected, parts.embedder, parts.head, parts.optimizer, parts.processes)


def restore_state(parts: RunParts, folder: RunFolder, observe: Observer, *, accept_changes: bool) -> TrainingState:
    """Load the state in the folder into the parts; return where the run stands. All processes call this.

    Raises:
        CheckpointError: There is no usable state, or it was saved with another config or table.
    """
    saved: dict[str, Any] = {}
    changes: list[str] = []
    processes = parts.processes
    if processes.first:
        folder.sweep()
        saved, warning = folder.load_state()
        if warning:
            observe(Note(warning))
        changes = _accepted_changes(saved, parts, folder, accept_changes=accept_changes)
        if moved := moved_paths(saved["config"], parts.config):
            observe(Note("\n".join(["moved since the run began:", *moved])))
            changes += moved
    saved = scatter_state(saved, parts.embedder, parts.head, parts.optimizer, processes, folder.path)
    _load_parts(saved, parts, folder)
    state = TrainingState.of_saved(saved["training"], parts.validation.decides)
    for line in drop_incomparable_figures(saved, state, parts.validation, parts.config.data.fold):
        observe(Note(line))
    _restore_random_state(saved["random_states"], parts, state, observe)
    if processes.first:
        folder.cut(state.step, state.closed_epochs)
        if changes:
            folder.note_changes(parts.config, state.step, changes)
    _advise(processes, resume_hint(folder, state))
    observe(Note(f"resumed at step {state.step} of {parts.steps}"))
    return state


def _accepted_changes(saved: dict[str, Any], parts: RunParts, folder: RunFolder, *, accept_changes: bool) -> list[str]:
    """Return what differs from when the state was saved, a line each.

    Raises:
        CheckpointError: The config differs and `accept_changes` is not set, or the table differs.
    """
    if saved["table"] != parts.table_digest:
        raise CheckpointError(_other_table(parts, folder), code="table-changed", parameter="data.table")
    changes = config_changes(saved["config"], parts.config)
    if changes and (misfit := _other_texts(saved, changes) or _misfit(saved, parts)):
        lines = [
            f"{folder.path}: cannot be resumed with another config that its state does not fit ({misfit}). Changes:",
            *changes,
            f"begin a new run, in another output folder; with model.weights: {folder.path} it starts from this one's "
            "weights, if the backbone is the same",
        ]
        raise CheckpointError(lines, code="state-does-not-fit", parameter="resume")
    digests = saved.get("validation_tables", {})
    changes += [
        f"  validation.tables.{name}: another table"
        for name, value in parts.validation.digests.items()
        if digests.get(name, value) != value
    ]
    texts = parts.head.texts
    if texts is not None and saved.get("compared_texts", texts.digest) != texts.digest:
        changes.append("  class_texts: other texts, since a file that they come from has changed")
    before = saved.get("teacher")
    if parts.distiller is not None and before and before["fingerprint"] != parts.distiller.teacher.digest:
        changes.append("  distill.teacher: another model")
    if parts.compatibility is not None and parts.compatibility.is_other(saved.get("old_model")):
        changes.append("  compatible_with: another model")
    if changes and not accept_changes:
        own = shlex.join(["eml", "train", str(from_here(folder.path)), "--resume", *plugin_options()])
        lines = [
            f"{from_here(folder.path)}: cannot be resumed with another config, since the result would differ. Changes:",
            *changes,
            f"resume with its own: {own}; or set `accept_changes` if you mean the changes",
        ]
        raise CheckpointError(lines, code="config-changed", parameter="accept_changes")
    if (before := len(saved["random_states"])) != parts.processes.world:
        changes.append(f"  processes: {before} → {parts.processes.world}")
    return changes


def _other_table(parts: RunParts, folder: RunFolder) -> str:
    """Return that the table has changed, with the command that begins a new run on it from this one's weights."""
    frame = parts.data.frame
    facts: dict[str, Any] = {}
    with suppress(CheckpointError):
        facts = folder.facts()
    before = [facts.get("train_images"), facts.get("train_classes")]
    now = [len(frame), len(parts.data.classes)]
    counts = ""
    if all(isinstance(count, int) for count in before) and before != now:
        counts = f" ({before[0]:,} images of {before[1]:,} classes to train on then, {now[0]:,} of {now[1]:,} now)"
    number = next(n for n in range(2, 10_000) if not folder.path.with_name(f"{folder.path.name}-{n}").exists())
    weights = _has_checkpoint(folder)
    settings = [*([f"model.weights={folder.path}"] if weights else []), f"output={folder.path}-{number}"]
    settings += [f"data.table={parts.table.path}"] if parts.table.path else []
    words = [word for setting in settings for word in ("--set", setting)]
    command = shlex.join(["eml", "train", str(folder.path / "config.yaml"), *words, *plugin_options()])
    return (
        f"{parts.table.name}: is not the table that the run in {folder.path} began with{counts}, so the run cannot be "
        f"resumed on it. Restore that table, or begin a new run{' from its weights' if weights else ''}: {command}"
    )


def _has_checkpoint(folder: RunFolder) -> bool:
    try:
        return bool(find_checkpoint(folder.path))
    except CheckpointError:
        return False


def _other_texts(saved: dict[str, Any], changes: list[str]) -> str:
    """Return why changed texts do not fit a state that has the text vectors of the classes; "" if they do."""
    is_changed = any(line.strip().startswith("class_texts.") for line in changes)
    return "its text vectors are of the class_texts before" if is_changed and "text_rows" in saved["head"] else ""


def _misfit(saved: dict[str, Any], parts: RunParts) -> str:
    """Return the first part of a state that does not fit the network or class head; "" if all fit or it is unknown."""
    if parts.processes.world > 1:  # each process has only a part
        return ""
    for name, module in (("embedder", parts.embedder), ("head", parts.head)):
        before = {key: tuple(value.shape) for key, value in saved[name].items() if isinstance(value, Tensor)}
        now = {key: tuple(value.shape) for key, value in module.state_dict().items() if isinstance(value, Tensor)}
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return f"{name} {key}: {_shape(before.get(key))} → {_shape(now.get(key))}"
    return ""


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "×".join(map(str, shape)) or "a number"


def _load_parts(saved: dict[str, Any], parts: RunParts, folder: RunFolder) -> None:
    try:
        parts.embedder.load_state_dict(saved["embedder"])
        parts.head.load_state_dict(saved["head"])
        load_optimizer(parts.optimizer, saved["optimizer"])
        if parts.networks.ema is not None:
            parts.networks.ema.module.load_state_dict(saved["ema"] or saved["embedder"])
        parts.scaler.load_state_dict(saved["scaler"])
        if parts.distiller is not None:
            parts.distiller.load_state(saved.get("teacher"))
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{folder.path}: its state does not fit the changed config: {first}", code="state-does-not-fit"
        ) from error


def _restore_random_state(saved: list[Any], parts: RunParts, state: TrainingState, observe: Observer) -> None:
    """Restore this process's random state, or draw from a new seed when the number of processes has changed."""
    processes = parts.processes
    if len(saved) != processes.world:
        observe(Note(f"saved by {_processes(len(saved))}, resumed with {_processes(processes.world)}"))
        processes.reseed(parts.config.seed, state.step)
    elif len(saved[processes.rank]) == len(random_state(parts.device)):  # otherwise another kind of device saved it
        set_random_state(parts.device, saved[processes.rank])


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
