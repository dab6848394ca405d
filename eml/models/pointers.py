"""Small files that say which checkpoint of a run is meant."""

from pathlib import Path

from eml.errors import CheckpointError
from eml.files import write_text


def point(pointer: Path, target: Path) -> None:
    """Make a small file (`best`, `last`) say which checkpoint folder beside it is meant."""
    write_text(pointer, target.name + "\n")


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder meant by `path`: itself, or a run folder's best one.

    Raises CheckpointError when there is none.
    """
    if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
        return path
    for run in (path, path / "checkpoints"):
        if path.name in ("best", "last") and path.is_file():
            return find_checkpoint(path.parent / path.read_text(encoding="utf-8").strip())
        for name in ("best", "last"):
            if (run / name).is_file():
                return find_checkpoint(run / (run / name).read_text(encoding="utf-8").strip())
    problem = "does not exist" if not path.exists() else "is neither a checkpoint nor a run folder with one"
    raise CheckpointError(f"{path} {problem}: expected a folder with config.json and model.safetensors")
