"""A run folder as others recognise it, and the small files `best` and `last`, which name one of its checkpoints."""

from pathlib import Path

from eml.errors import CheckpointError
from eml.files import write_text

RUN_FILE = "run.json"


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder is that of a training run, finished or not."""
    return (folder / RUN_FILE).is_file()


def point(pointer: Path, target: Path) -> None:
    """Write a small file (`best`, `last`) that names the checkpoint folder beside it."""
    write_text(pointer, target.name + "\n")


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder that a path stands for: itself, or the best (else last) one of a run folder.

    Raises:
        CheckpointError: There is none.
    """
    if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
        return path
    for folder in (path, path / "checkpoints"):
        if path.name in ("best", "last") and path.is_file():
            return find_checkpoint(path.parent / path.read_text(encoding="utf-8").strip())
        for name in ("best", "last"):
            if (folder / name).is_file():
                return find_checkpoint(folder / (folder / name).read_text(encoding="utf-8").strip())
    problem = "does not exist" if not path.exists() else "is neither a checkpoint nor a run folder with one"
    raise CheckpointError(
        f"{path} {problem}: expected a folder with config.json and model.safetensors", code="no-checkpoint"
    )
