"""Where an evaluation writes, and which files it may replace."""

import os
from collections.abc import Sequence
from pathlib import Path

from eml.errors import ConfigError, OutputError
from eml.files import is_json_with
from eml.inference.embeddings_file import is_embeddings_file
from eml.inference.models import TIMM
from eml.models.pointers import find_checkpoint


def check_results(files: Sequence[Path]) -> None:
    """Raises OutputError when one of the files is there and is no result of an evaluation: that is not replaced."""
    for file in files:
        if file.exists() and not is_json_with(file, {"checkpoint", "metrics"}):
            raise OutputError(f"{file}: is there and was not written by eml evaluate; give another --out")


def evaluations_folder(checkpoint: str, out: Path | None) -> Path:
    """Where evaluations of a checkpoint go: `out`, else the folder `evaluations` of its run.

    Raises ConfigError when there is no run to put them into.
    """
    if out is not None:
        return out
    if checkpoint.startswith(TIMM) or is_embeddings_file(checkpoint):
        raise ConfigError(f"{checkpoint} has no run folder to write into; say where with --out FOLDER")
    for folder in (Path(checkpoint), *find_checkpoint(Path(checkpoint)).parents[:2]):
        if (folder / "run.json").is_file():
            return Path(os.path.normpath(folder / "evaluations"))
    raise ConfigError(f"{checkpoint} is in no run folder; say where to write with --out FOLDER")


METRICS, PAGE, EMBEDDINGS = "metrics.json", "report.html", "embeddings.npz"


TABLES = (".csv", ".parquet", ".npz", ".npy")


def _refuse_embeddings(files: Sequence[Path]) -> None:
    """Raises OutputError for one that is there and is none of an evaluation's: that is not replaced."""
    for file in files:
        if file.exists() and not file.with_name(METRICS).exists():
            raise OutputError(f"{file}: is there and was not written by eml evaluate; give another --out")


def folder_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each: its last part without the suffix; of equal ones, with the folders that tell them apart.

    `a/x/run` and `b/x/run` give `a-x-run` and `b-x-run`; the same path twice gives `run` and `run-2`.
    """
    parts = [_parts(path) for path in paths]
    full = []
    for own in parts:
        others = [each for each in parts if each != own]
        told = next((n for n in range(1, len(own)) if all(each[-n:] != own[-n:] for each in others)), len(own))
        full.append("-".join(own[-told:]))
    return [f"{name}-{full[:i].count(name) + 1}" if full[:i].count(name) else name for i, name in enumerate(full)]


def _parts(path: Path) -> tuple[str, ...]:
    """Of the path from the root, without a table's suffix."""
    whole = Path(os.path.normpath(path.absolute()))
    return (*whole.parts[1:-1], whole.stem if whole.suffix in TABLES else whole.name)
