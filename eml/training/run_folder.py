"""The run folder: what it holds, how it is written, how it is taken up again.

config.yaml       the resolved config, reusable as it is
run.json          versions, seed, git commit, command, digest of the table, what was trained on
steps.jsonl       one line a step: loss, learning rates, accuracy, mean target angle
metrics.jsonl     one line a validation; epoch 0 is the untrained network
timings.jsonl     seconds and images/s, apart, so that the two above compare byte for byte
curves.png        both, drawn
checkpoints/      epoch-NNN folders; `best` and `last` are small files that name one
state.pt          everything needed to go on exactly (weights, optimizer, random state), read without pickle's code;
                  state.previous.pt is the one before, for when the last is damaged
"""

import json
import platform
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from eml.config import dump
from eml.dataset.table import Table
from eml.errors import CheckpointError, OutputError
from eml.files import TEMPORARY_PREFIX, digest, whole_file, write_json, write_text
from eml.models.pointers import point
from eml.training.config import RunConfig

Line = dict[str, Any]
LOCK = "train.lock"


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
        """No other training writes here meanwhile: from now on, or of a new run from when its folder is made.

        The lock is the operating system's, so that a killed run leaves none. Raises OutputError when another holds it.
        """
        try:
            if (self.path / "run.json").is_file():  # nothing is written into a folder of the user's
                self._hold()
            yield
        finally:
            self._lock.release(force=True)

    def _hold(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"{self.path}: another eml train is at work here; wait until it has ended, stop it, or choose another "
                "folder (--set output=FOLDER)"
            ) from error
        except OSError as error:
            raise OutputError(f"{self.path / LOCK}: cannot be written: {error.strerror}") from error

    def create(self, config: RunConfig, facts: dict[str, Any], *, overwrite: bool) -> None:
        """Make the folder with config.yaml and run.json.

        Raises OutputError when something is there already and `overwrite` is not set; with it, an older run's files
        are removed, other files stay.
        """
        if self.refuse_occupied(overwrite=overwrite):
            self._remove_older_run()
        write_json(self.path / "run.json", environment() | facts)  # first: by it --overwrite knows a run folder
        self._hold()
        write_text(self.path / "config.yaml", dump(config))

    def refuse_occupied(self, *, overwrite: bool) -> bool:
        """Whether something is there already. Raises OutputError when it is and `overwrite` is not set."""
        occupied = self.path.is_file() or (
            self.path.is_dir() and any(each.name != LOCK for each in self.path.iterdir())
        )
        if occupied and not overwrite:
            raise OutputError(
                f"{self.path}: there is something already; go on with it (--resume), replace it (--overwrite), "
                "or choose another folder (--set output=FOLDER)"
            )
        return occupied

    def _remove_older_run(self) -> None:
        if not (self.path / "run.json").is_file():
            raise OutputError(f"{self.path}: is not a run folder of eml, so --overwrite does not touch it")
        for name in (
            "steps.jsonl",
            "metrics.jsonl",
            "timings.jsonl",
            "curves.png",
            "state.pt",
            "state.previous.pt",
            "run.json",
        ):
            (self.path / name).unlink(missing_ok=True)
        for old in (self.path / "evaluations").glob("*/metrics.json"):
            old.unlink()
        for folder in self.checkpoints.glob("epoch-*"):
            remove_folder(folder)
        for pointer in ("best", "last"):
            (self.checkpoints / pointer).unlink(missing_ok=True)

    def append(self, log: str, lines: Iterable[Line]) -> None:
        """Add lines to steps, metrics or timings."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        try:
            with (self.path / f"{log}.jsonl").open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"{self.path / log}.jsonl: cannot be written: {error.strerror}") from error

    def read(self, log: str) -> list[Line]:
        """The lines of a log; none when there is no such file. A half-written last line is left out."""
        file = self.path / f"{log}.jsonl"
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
        return [json.loads(line) for line in lines]

    def cut(self, step: int, epoch: int) -> None:
        """Forget what the logs say of steps after `step` and of epochs after `epoch`: the run will say it again."""
        for log in ("steps", "metrics", "timings"):
            kept = [
                line for line in self.read(log) if line["step"] <= step and (log == "steps" or line["epoch"] <= epoch)
            ]
            write_text(self.path / f"{log}.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def note_changes(self, config: RunConfig, step: int, changes: list[str]) -> None:
        """Say in run.json what was changed on resuming, and write config.yaml anew."""
        facts = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        facts.setdefault("changes", []).append({"step": step, "changes": [line.strip() for line in changes]})
        write_json(self.path / "run.json", facts)
        write_text(self.path / "config.yaml", dump(config))

    def checkpoint(self, epoch: int) -> Path:
        """The folder of an epoch's checkpoint."""
        return self.checkpoints / f"epoch-{epoch:03d}"

    def keep_checkpoints(self, best: list[int], *, last: int) -> None:
        """Point `best` to the first of the best epochs and `last` to the last one; drop all others."""
        point(self.checkpoints / "last", self.checkpoint(last))
        point(self.checkpoints / "best", self.checkpoint(best[0]))
        kept = {self.checkpoint(epoch) for epoch in (*best, last)}
        for folder in self.checkpoints.glob("epoch-*"):
            if folder not in kept:
                remove_folder(folder)

    def begun(self) -> bool:
        """Whether there is a state to resume from."""
        return self.state.is_file() or self.previous.is_file()

    def refuse_not_begun(self) -> None:
        """Raises CheckpointError when there is no state to resume from."""
        if self.begun():
            return
        if not self.path.exists():
            raise CheckpointError(f"{self.path}: is not there, so no run to resume; without --resume one begins there")
        raise CheckpointError(
            f"{self.path}: holds no state.pt to resume from; begin again with --overwrite in place of --resume, or "
            "name the folder of a run (--set output=FOLDER)"
        )

    def save_state(self, state: dict[str, Any]) -> None:
        """Write state.pt whole or not at all, and keep the one before. Raises OutputError when it cannot be written."""
        with whole_file(self.state) as temporary:
            try:
                torch.save(state, temporary)
            except RuntimeError as error:  # how torch reports that writing failed, without the system's reason
                raise OSError(f"torch could not write all of it; is the disk full? ({error})") from error
            if self.state.exists():
                self.state.replace(self.previous)

    def load_state(self) -> tuple[dict[str, Any], str | None]:
        """Read state.pt, or the one before where that is damaged, and then what to tell of it.

        Raises CheckpointError when there is none, or both are damaged.
        """
        damaged: list[str] = []
        for file in (self.state, self.previous):
            if file.is_file():
                try:
                    state = _read_state(file)
                except CheckpointError as error:
                    damaged += error.problems
                else:
                    return state, f"warning: {damaged[0]}; going on from {file.name}" if damaged else None
        self.refuse_not_begun()
        raise CheckpointError(damaged)

    def sweep(self) -> None:
        """Remove what a killed run left half-written."""
        for folder in (self.path, self.checkpoints):
            for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _read_state(file: Path) -> dict[str, Any]:
    """Raises CheckpointError when it is damaged: torch's file is a zip with a CRC-32 of every tensor."""
    try:
        with zipfile.ZipFile(file) as archive:
            if (name := archive.testzip()) is not None:
                raise CheckpointError(f"{file}: damaged: {name} is not what was written")
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch.load raise many types on a damaged file
        raise CheckpointError(f"{file}: damaged: {str(error).splitlines()[0]}") from error
    return state


def remove_folder(folder: Path) -> None:
    """Delete a checkpoint folder and the files in it."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def environment() -> dict[str, Any]:
    """Versions, machine, command and git commit of the current folder, for run.json."""
    packages = ("easy-metric-learning", "torch", "timm", "numpy", "pandas", "pillow", "albumentations")
    return {
        "command": shlex.join(["eml", *sys.argv[1:]]),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "machine": {
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "git_commit": _git_commit(),
    }


def table_facts(table: Table) -> dict[str, Any]:
    """Path and digest of the table that was trained on; of one merged from several, also theirs."""
    facts = {"path": str(table.path) if table.path else None, "digest": table.digest}
    parts = [{"path": str(part), "digest": digest(part)} for part in table.parts]
    return facts | ({"parts": parts} if parts else {})


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
