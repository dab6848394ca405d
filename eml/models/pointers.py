"""A run folder as others recognise it, and the small files `best` and `last`, which name one of its checkpoints."""

import shlex
from pathlib import Path

from eml.config.text import listed, shown
from eml.errors import CheckpointError
from eml.files import NO_PATH, is_path, refuse_pipe, restore_folders, write_text
from eml.models.hub_download import downloaded_folder
from eml.models.hub_folder import CHECKPOINT, HUB, is_hub_folder

RUN_FILE = "run.json"
POINTERS = ("best", "last")
FAILED = ".failed"
"""Ends the name of a file or folder that eml export wrote and whose proof failed."""
FOLDS_FILE, OUT_OF_FOLD_FILE = "folds.json", "out_of_fold.npz"
_LONGEST = 1024  # bytes of a pointer that are read


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder is that of a training run, finished or not."""
    return (folder / RUN_FILE).is_file()


def fold_runs(folder: Path) -> list[Path]:
    """Return the runs of a cross-validation, in the order of their folds; none of any other folder."""
    if not is_path(str(folder)) or not (folder / FOLDS_FILE).is_file():
        return []
    runs = [run for run in folder.glob("fold-*") if run.name.removeprefix("fold-").isdigit() and is_run_folder(run)]
    return sorted(runs, key=lambda run: int(run.name.removeprefix("fold-")))


def point(pointer: Path, target: Path) -> None:
    """Write a small file (`best`, `last`) that names the checkpoint folder beside it."""
    write_text(pointer, target.name + "\n")


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder that a path stands for: itself, the best (else last) of a run, that in a hub folder.

    `hf-hub:OWNER/NAME` stands for a hub folder on the hub, which is downloaded unless it is in the cache.

    Raises:
        CheckpointError: There is none, or the hub cannot be reached.
    """
    if str(path).startswith(HUB):
        return downloaded_folder(str(path)) / CHECKPOINT
    if not is_path(str(path)):
        raise CheckpointError(f"{shown(str(path))} is {NO_PATH}", code="no-checkpoint")
    if not path.exists():
        restore_folders(path.parent)
    if is_hub_folder(path):
        if path.suffix == FAILED:
            text = f"{path}: its proof failed: it did not show that other libraries answer as its checkpoint does; "
            raise CheckpointError(f"{text}to use it all the same, take {FAILED} off its name", code="failed-proof")
        return path / CHECKPOINT
    if _is_checkpoint(path):
        return path
    if path.name in POINTERS and path.is_file():
        return _follow(path)
    for folder in (path, path / "checkpoints"):
        for name in POINTERS:
            if (folder / name).is_file():
                return _follow(folder / name)
    if runs := fold_runs(path):
        text = f"{path} is a cross-validation, several networks: name one of its runs, such as {runs[0]}, or make one "
        command = shlex.join(["eml", "ensemble", str(path), "--out", f"{path}_ensemble"])
        raise CheckpointError(f"{text}checkpoint of them: {command}", code="no-checkpoint")
    problem = "does not exist" if not path.exists() else "is neither a checkpoint nor a run folder with one"
    raise CheckpointError(
        f"{path} {problem}: expected a folder with config.json and model.safetensors", code="no-checkpoint"
    )


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def _follow(pointer: Path) -> Path:
    """Return the checkpoint folder beside the pointer that it names; nothing else is followed.

    Raises:
        CheckpointError: The pointer names no checkpoint beside it.
    """
    try:
        refuse_pipe(pointer)
        with pointer.open("rb") as file:
            name = file.read(_LONGEST).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{pointer}: cannot be read: {error}", code="damaged-file") from error
    plain = bool(name) and name not in (".", "..") and "/" not in name and is_path(name)
    if plain and not (pointer.parent / name).exists():
        restore_folders(pointer.parent)
    if plain and _is_checkpoint(pointer.parent / name):
        return pointer.parent / name
    kept = sorted(folder.parent.name for folder in pointer.parent.glob("*/model.safetensors"))
    text = f"{pointer}: must name a checkpoint folder beside it, got {shown(name)}; there are {listed(kept)}"
    raise CheckpointError(text, code="damaged-file")
