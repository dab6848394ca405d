"""The run folder: its files, and how they are written and read again.

config.yaml       the resolved config, reusable as it is
run.json          versions, seed, git commit, command, digest of the table, what was trained on
steps.jsonl       one line per step: loss, learning rates, accuracy, mean target angle
metrics.jsonl     one line per validation; epoch 0 is the network before training
timings.jsonl     seconds and images/s, kept apart so that the two above compare byte for byte
curves.png        plots of both
run_report.html   the page of `eml report`, if there is one
trained_images.bin, earlier_labels.json   what its checkpoints are trained on, see eml/models/trained_on.py
checkpoints/      epoch-NNN folders; `best` and `last` are small files that name one. Of a run in stages: `start`, the
                  network before training, and `finished`, or `refitted`, which `best` names in the end
stages/           outputs of its networks for its images, so that a resumed run does not compute them again
state.pt          everything needed to continue exactly (weights, optimizer, random state), read without pickled code;
                  state.previous.pt is the one before, for when the last one is damaged
"""

import json
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from eml.config import dump
from eml.config.plugins import find_loaded
from eml.dataset.sidecar import sidecar_path, written_by_eml
from eml.dataset.table import Table
from eml.errors import CheckpointError, OutputError
from eml.evaluation.outputs import remove_results
from eml.files import (
    TEMPORARY_PREFIX,
    digest,
    from_here,
    refuse_pipe,
    restore_folders,
    whole_file,
    write_json,
    write_text,
)
from eml.json_files import read_json, read_json_lines
from eml.models.pointers import RUN_FILE, is_run_folder, point
from eml.models.trained_on import EARLIER_LABELS, IMAGES
from eml.training.config import RunConfig
from eml.versions import version_of

Line = dict[str, Any]
LOCK = "train.lock"
PAGE = "run_report.html"  # of eml report
STAGE_CHECKPOINTS = ("start", "finished", "refitted")
"""Of a run in stages: the network before training, what it gives, and that trained on all classes."""
STATE_VERSION = 2
"""Of state.pt; eml 0.1.0 wrote version 1, without saying so."""
_STATE = {
    **dict.fromkeys(("config", "training", "embedder", "head", "optimizer", "scaler"), dict),
    "random_states": list,
}


class RunFolder:
    """Paths, logs and state of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.state = path / "state.pt"
        self.previous = path / "state.previous.pt"
        self._lock = FileLock(path / LOCK)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other trainings from writing here: from now on, or for a new run from when its folder is made.

        The lock is the operating system's, so that a killed run leaves none.

        Raises:
            OutputError: Another training holds the lock.
        """
        try:
            if is_run_folder(self.path):  # otherwise the folder is the user's, and nothing is written into it
                self._hold()
            yield
        finally:
            self._lock.release(force=True)

    def _hold(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"{self.path}: another training writes into this folder; wait until it ends, stop it, or choose "
                "another folder for output",
                code="run-is-locked",
                parameter="output",
            ) from error
        except OSError as error:
            raise OutputError(
                f"{self.path / LOCK}: cannot be written: {error.strerror}", code="not-writable"
            ) from error

    def create(self, config: RunConfig, facts: dict[str, Any], *, overwrite: bool) -> list[Path]:
        """Make the folder with config.yaml and run.json, and return the reports and embeddings that were removed.

        Args:
            config: Of the run.
            facts: For run.json.
            overwrite: Remove the files of an older run; other files stay.

        Raises:
            OutputError: Something is there already, and `overwrite` is not set or it is not a run.
        """
        removed = self._remove_older_run() if self.refuse_occupied(overwrite=overwrite) else []
        write_json(self.path / RUN_FILE, environment() | facts)  # first: overwriting recognises a run folder by it
        self._hold()
        write_text(self.path / "config.yaml", dump(config))
        return removed

    def refuse_occupied(self, *, overwrite: bool) -> bool:
        """Return whether something is there already.

        Raises:
            OutputError: Something is there and `overwrite` is not set, or it is a device.
        """
        if self.path.exists() and not self.path.is_file() and not self.path.is_dir():
            text = f"{self.path}: is a pipe or a device; choose a folder for output"
            raise OutputError(text, code="not-writable", parameter="output")
        occupied = self.path.is_file() or (
            self.path.is_dir() and any(entry.name != LOCK for entry in self.path.iterdir())
        )
        if occupied and not overwrite:
            raise OutputError(
                f"{from_here(self.path)}: already exists; set `resume` to continue the run, `overwrite` to replace it, "
                "or choose another folder for output",
                code="file-exists",
                parameter="output",
            )
        return occupied

    def remove(self) -> None:
        """Remove the run in the folder, and the folder if nothing else is in it.

        Raises:
            OutputError: Another training writes into it.
        """
        self._hold()
        try:
            self._remove_older_run()
            (self.path / "config.yaml").unlink(missing_ok=True)
        finally:
            self._lock.release(force=True)
        (self.path / LOCK).unlink(missing_ok=True)
        folders = [folder for folder in self.path.rglob("*") if folder.is_dir()]
        for folder in sorted([*folders, self.path], reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _remove_older_run(self) -> list[Path]:
        """Remove the files of the run in the folder, and return those that commands after the training wrote."""
        if not is_run_folder(self.path):
            raise OutputError(
                f"{self.path}: is not a run folder of eml, so `overwrite` does not replace it",
                code="not-a-run",
                parameter="output",
            )
        for name in (
            "steps.jsonl",
            "metrics.jsonl",
            "timings.jsonl",
            "curves.png",
            "state.pt",
            "state.previous.pt",
            IMAGES,
            EARLIER_LABELS,
            RUN_FILE,
        ):
            (self.path / name).unlink(missing_ok=True)
        for old in (self.path / "tensorboard").glob("events.out.tfevents.*"):
            old.unlink()
        for folder in [*self.checkpoints.glob("epoch-*"), *(self.checkpoints / name for name in STAGE_CHECKPOINTS)]:
            if folder.is_dir():
                remove_folder(folder)
        for file in (*(self.path / "stages").glob("*.pt"), *(self.path / "references").glob("*.embeddings")):
            file.unlink()
        for run in (self.path / "refit", *(self.path / "rotation").glob("fold-*")):
            if is_run_folder(run):
                RunFolder(run).remove()
        for pointer in ("best", "last"):
            (self.checkpoints / pointer).unlink(missing_ok=True)
        return [*self._remove_page(), *remove_results(self.path / "evaluations")]

    def _remove_page(self) -> list[Path]:
        """Remove the page of the run, if eml wrote it and nobody changed it since, and return it then."""
        page = self.path / PAGE
        if not written_by_eml(page):
            return []
        page.unlink()
        sidecar_path(page).unlink(missing_ok=True)
        return [page]

    def append(self, log: str, lines: Iterable[Line]) -> None:
        """Add lines to steps, metrics or timings."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        try:
            with (self.path / f"{log}.jsonl").open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(
                f"{self.path / log}.jsonl: cannot be written: {error.strerror}", code="not-writable"
            ) from error

    def read(self, log: str) -> list[Line]:
        """Return the lines of a log, without a half-written last line; none when there is no such file.

        Raises:
            CheckpointError: The file is damaged.
        """
        file = self.path / f"{log}.jsonl"
        if not file.is_file():
            return []
        lines: list[Line] = _intact(file, lambda: read_json_lines(file, Line, cut=True))
        keys = ("step",) if log == "steps" else ("step", "epoch")
        for number, line in enumerate(lines, 1):
            if not all(isinstance(line.get(key), int) for key in keys):
                raise CheckpointError(f"{file}: line {number} has no {' and '.join(keys)}", code="damaged-file")
        return lines

    def cut(self, step: int, epoch: int) -> None:
        """Remove log lines of steps after `step` and of epochs after `epoch`, which the run will write again."""
        for log in ("steps", "metrics", "timings"):
            kept = [
                line for line in self.read(log) if line["step"] <= step and (log == "steps" or line["epoch"] <= epoch)
            ]
            write_text(self.path / f"{log}.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def facts(self) -> dict[str, Any]:
        """Return the content of run.json.

        Raises:
            CheckpointError: It is damaged.
        """
        file = self.path / RUN_FILE
        facts: dict[str, Any] = _intact(file, lambda: read_json(file, dict[str, Any]))
        return facts

    def note_changes(self, config: RunConfig, step: int, changes: list[str]) -> None:
        """Record in run.json what was changed on resuming, and write config.yaml again."""
        facts = self.facts()
        earlier = facts.get("changes")
        change = {"step": step, "changes": [line.strip() for line in changes]}
        facts["changes"] = [*(earlier if isinstance(earlier, list) else []), change]
        write_json(self.path / RUN_FILE, facts)
        write_text(self.path / "config.yaml", dump(config))

    def update_facts(self, facts: dict[str, Any]) -> None:
        """Write these facts into run.json, if they differ from those that are there."""
        if (before := self.facts()) != (after := before | facts):
            write_json(self.path / RUN_FILE, after)

    def checkpoint(self, epoch: int) -> Path:
        """Return the folder of an epoch's checkpoint."""
        return self.checkpoints / f"epoch-{epoch:03d}"

    def keep_checkpoints(self, best: list[int], *, last: int) -> None:
        """Point `best` to the first of the best epochs and `last` to the last one; drop all others."""
        point(self.checkpoints / "last", self.checkpoint(last))
        point(self.checkpoints / "best", self.checkpoint(best[0]))
        kept = {self.checkpoint(epoch) for epoch in (*best, last)}
        for folder in self.checkpoints.glob("epoch-*"):
            if folder not in kept:
                remove_folder(folder)

    def point_best(self, checkpoint: Path) -> None:
        """Point `best` to a checkpoint of another name than the epochs'."""
        point(self.checkpoints / "best", checkpoint)

    def is_begun(self, config: RunConfig) -> bool:
        """Return whether there is a state of this very config to resume from."""
        file = self.path / "config.yaml"
        return self.has_state() and file.is_file() and file.read_text(encoding="utf-8") == dump(config)

    def has_state(self) -> bool:
        """Return whether there is a state to resume from."""
        return self.state.is_file() or self.previous.is_file()

    def refuse_not_resumable(self) -> None:
        """Raise CheckpointError when there is no state to resume from, or eml 0.1.0 wrote it."""
        self._refuse_without_state()
        versions = [saved for file in (self.state, self.previous) if (saved := _saved_version(file)) is not None]
        if versions:  # otherwise load_state reports the damage
            self._check_version(versions[0])

    def _refuse_without_state(self) -> None:
        if self.has_state():
            return
        if not self.path.exists():
            problem = "does not exist, so there is no run to resume; begin one without `resume`"
        else:
            problem = (
                "has no state.pt to resume from; begin again with `overwrite` in place of `resume`, or set output to "
                "the folder of a run"
            )
        raise CheckpointError(f"{self.path}: {problem}", code="no-saved-state", parameter="resume")

    def _check_version(self, saved: int) -> None:
        if saved != STATE_VERSION:
            writer = "eml 0.1.0" if saved == 1 else "another version of eml"
            raise CheckpointError(
                f"{self.path}: {writer} saved this run, and this version cannot resume it. Begin a new run from its "
                f"weights: set model.weights to {self.path} and choose another folder for output",
                code="old-training-state",
                parameter="resume",
            )

    def save_state(self, state: dict[str, Any]) -> None:
        """Write state.pt whole or not at all, and keep the one before.

        Raises:
            OutputError: It cannot be written.
        """
        with whole_file(self.state) as temporary:
            try:
                torch.save(state, temporary)
            except RuntimeError as error:  # torch reports failed writing so, without the system's reason
                raise OSError(f"torch could not write all of it; is the disk full? ({error})") from error
            if self.state.exists():
                self.state.replace(self.previous)

    def load_state(self) -> tuple[dict[str, Any], str | None]:
        """Return the state, or the one before when it is damaged, and then a warning.

        Raises:
            CheckpointError: There is none, both are damaged, or another version of eml wrote it.
        """
        damaged: list[str] = []
        for file in (self.state, self.previous):
            if file.is_file():
                try:
                    state = _read_state(file)
                except CheckpointError as error:
                    damaged += error.problems
                else:
                    self._check_version(_version_of(state))
                    return state, f"warning: {damaged[0]}; resuming from {file.name}" if damaged else None
        self._refuse_without_state()
        raise CheckpointError(damaged, code="damaged-file")

    def sweep(self) -> None:
        """Remove files that a killed run left half-written."""
        for folder in (self.path, self.checkpoints):
            restore_folders(folder)
            for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _intact(file: Path, read: Callable[[], Any]) -> Any:
    """Return what a file of the run says. Raises CheckpointError when it cannot be read."""
    try:
        return read()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}", code="damaged-file") from error


def _version_of(state: dict[str, Any]) -> int:
    saved: int = state.get("version", 1)
    return saved


def _saved_version(file: Path) -> int | None:
    """Return the version of a state without reading its tensors; None when it cannot be read."""
    with suppress(Exception):
        refuse_pipe(file)
        return _version_of(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    return None


def _read_state(file: Path) -> dict[str, Any]:
    """Return the state in a file, a zip of torch's with a CRC-32 of every tensor.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        refuse_pipe(file)
        with zipfile.ZipFile(file) as archive:
            if (name := archive.testzip()) is not None:
                raise CheckpointError(f"{file}: damaged: the checksum of {name} is wrong", code="damaged-file")
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch.load raise many types on a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{file}: damaged: {reason}", code="damaged-file") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: damaged: it is no state of a training", code="damaged-file")
    wrong = [name for name, kind in _STATE.items() if not isinstance(state.get(name), kind)]
    if wrong and _version_of(state) == STATE_VERSION:
        text = f"{file}: damaged: it lacks {', '.join(wrong)}, or they are of another kind"
        raise CheckpointError(text, code="damaged-file")
    return state


def remove_folder(folder: Path) -> None:
    """Delete a checkpoint folder and all that is in it, such as the folder of a tokenizer."""
    shutil.rmtree(folder)


def environment() -> dict[str, Any]:
    """Return versions, machine and the current folder's git commit, for run.json."""
    packages = ("easy-metric-learning", "torch", "timm", "numpy", "pandas", "pillow", "albumentations")
    return {
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in packages},
        "machine": {
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "git_commit": _git_commit(),
    }


def table_facts(table: Table) -> dict[str, Any]:
    """Return path and digest of the training table; for one merged from several, also of each of them."""
    facts = {"path": str(table.path) if table.path else None, "digest": table.digest}
    parts = [{"path": str(part), "digest": digest(part)} for part in table.parts]
    return facts | ({"parts": parts} if parts else {})


def plugin_facts(names: Sequence[str]) -> list[dict[str, str | None]]:
    """Return name and SHA-256 of the plugins of a config, which have been imported."""
    plugins = [find_loaded(name) for name in names]
    return [{"name": plugin.name, "digest": plugin.digest} for plugin in plugins if plugin is not None]


def _git_commit() -> str | None:
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, encoding="ascii", timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None
