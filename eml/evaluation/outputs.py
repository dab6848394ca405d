"""The files that an evaluation writes, and which it may replace."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eml.errors import ConfigError, OutputError, Problem
from eml.evaluation.options import EvaluationOptions
from eml.files import refuse_file_name, unwritable
from eml.inference.embeddings_file import is_embeddings_file, is_written
from eml.inference.exported.names import is_exported
from eml.inference.load import is_backbone
from eml.json_files import MOST_BYTES_OF_LISTS, is_json_with, read_json
from eml.models.pointers import find_checkpoint, fold_runs, is_run_folder
from eml.storage import is_remote, is_url

METRICS, PAGE, EMBEDDINGS = "metrics.json", "report.html", "embeddings.npz"
TABLES = (".csv", ".parquet", ".npz", ".npy")  # suffixes that are left out of a folder's name
RESULT_KEYS = {"checkpoint", "metrics"}
SAME_EMBEDDINGS = {"checkpoint", "weights_digest", "table_digest", "protocol", "preprocess", "fingerprint", "metrics"}
PAGE_MARK, PAGE_HEAD = '<meta name="generator" content="eml ', 4096  # the mark is within so many characters


def result_folders(options: EvaluationOptions) -> list[Path]:
    """Return the folder for the results of each checkpoint; within it, each table gets a folder of its own.

    Without `out` those of a run go into its folder `evaluations`. A model that has no run, such as timm:NAME, is
    compared with the first one that has, and gets a folder there.

    Raises:
        ConfigError: None of the models has a run to write into, and there is no `out`.
        OutputError: `out` is named like a file.
    """
    checkpoints, out = options.checkpoints, options.out
    if out is not None:
        refuse_file_name(out, "a folder for the results")
    if len(checkpoints) == 1:
        return [evaluations_folder(checkpoints[0], out) for checkpoint in checkpoints]
    names = folder_names([Path(name.replace(":", "-")) for name in checkpoints])
    if out is not None:
        return [out / name for name in names]
    own = [None if _has_no_run(checkpoint) else evaluations_folder(checkpoint, None) for checkpoint in checkpoints]
    if (first := next((folder for folder in own if folder), None)) is None:
        return [evaluations_folder(checkpoint, None) for checkpoint in checkpoints]  # which raises
    return [folder or first / name for folder, name in zip(own, names, strict=True)]


def across_models(options: EvaluationOptions) -> str:
    """Return what the folder of a table's results ends with where the gallery is another model's; else empty.

    So these results are beside those of the model alone.
    """
    if options.gallery_model is None:
        return ""
    models = [Path(name.replace(":", "-")) for name in (options.gallery_model, *options.checkpoints)]
    return f"-on-{folder_names(models)[0]}"


def _has_no_run(checkpoint: str) -> bool:
    return is_backbone(checkpoint) or is_embeddings_file(checkpoint) or is_exported(checkpoint)


def evaluations_folder(checkpoint: str, out: Path | None) -> Path:
    """Return where evaluations of a checkpoint go: `out`, else the folder `evaluations` of its run.

    Raises:
        ConfigError: There is no run to write into.
    """
    if out is not None:
        return out
    if _has_no_run(checkpoint) or is_url(checkpoint):
        problem = f"{checkpoint} has no run folder to write into; give a folder as `out`"
        raise ConfigError(problem, code="missing-key", parameter="out")
    if fold_runs(Path(checkpoint)):
        return Path(os.path.normpath(Path(checkpoint) / "evaluations"))
    for folder in (Path(checkpoint), *find_checkpoint(Path(checkpoint)).parents[:2]):
        if is_run_folder(folder):
            return Path(os.path.normpath(folder / "evaluations"))
    problem = f"{checkpoint} is in no run folder; give a folder to write into as `out`"
    raise ConfigError(problem, code="missing-key", parameter="out")


def check_outputs(folders: Sequence[Path], *, embeddings: bool, page: bool) -> None:
    """Check that results can be written into folders and replace only files that eml wrote.

    Args:
        folders: A folder for each model and table.
        embeddings: Whether embeddings.npz will be written.
        page: Whether report.html will be written.

    Raises:
        OutputError: They cannot, with all problems.
    """
    if problems := [reason for folder in folders if (reason := unwritable(folder))]:
        raise OutputError(
            [f"{reason}. Give another `out`" for reason in problems], code="not-writable", parameter="out"
        )
    for folder in folders:
        if problems := [*_foreign_results(folder, embeddings), *(_foreign_pages(folder / PAGE) if page else ())]:
            raise OutputError(problems)


def _foreign_results(folder: Path, embeddings: bool) -> Iterator[Problem]:
    metrics = folder / METRICS
    files = [metrics] if metrics.exists() and not is_json_with(metrics, RESULT_KEYS) else []
    if embeddings and (folder / EMBEDDINGS).exists() and not metrics.exists():
        files.append(folder / EMBEDDINGS)
    for file in files:
        yield Problem(f"{file}: exists and was not written by eml evaluate; give another `out`", "file-exists", "out")


def _foreign_pages(path: Path) -> Iterator[Problem]:
    if path.is_dir():
        text = f"{path}: is a folder; the report is to be written there. Move it, or give another `out`"
        yield Problem(text, "file-exists", "out")
    elif path.exists():
        is_ours = False
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                is_ours = PAGE_MARK in file.read(PAGE_HEAD)
        if not is_ours:
            text = f"{path}: exists and was not written by eml; give another `out`, or turn `report` off"
            yield Problem(text, "file-exists", "out")


def stale_outputs(folder: Path, facts: dict[str, Any]) -> list[Path]:
    """Return report.html and embeddings.npz of an earlier evaluation in a folder, if they are not of this one too.

    They are where metrics.json beside them says the same as `facts`, the metrics.json that will be written; for the
    embeddings the same model, images and metrics are enough. Only files that eml wrote are returned.
    """
    page, saved = folder / PAGE, folder / EMBEDDINGS
    try:
        earlier = read_json(folder / METRICS, dict[str, Any], MOST_BYTES_OF_LISTS)
    except (OSError, ValueError):
        return []
    facts = json.loads(json.dumps(facts))  # tuples are lists there
    changed = {key for key in facts if earlier.get(key) != facts[key]}
    recorded = changed & SAME_EMBEDDINGS & set(earlier)  # an earlier version recorded less
    stale = [page] if changed and page.is_file() and not list(_foreign_pages(page)) else []
    return [*stale, saved] if recorded and saved.is_file() and is_written(saved) else stale


def remove_results(folder: Path) -> list[Path]:
    """Remove the files of every evaluation in a folder and below it, and return those beside metrics.json."""
    removed = []
    for metrics in sorted(folder.rglob(METRICS)):
        page, saved = metrics.with_name(PAGE), metrics.with_name(EMBEDDINGS)
        removed += [page] if page.is_file() and not list(_foreign_pages(page)) else []
        removed += [saved] if saved.is_file() and is_written(saved) else []
        metrics.unlink()
    for path in removed:
        path.unlink()
    return removed


def refuse_page(path: Path) -> None:
    """Check that a report may be written at a path, where only a page that eml wrote is replaced.

    Raises:
        OutputError: There is a folder, or a file that eml did not write.
    """
    if problems := list(_foreign_pages(path)):
        raise OutputError(problems)


def folder_names(paths: Sequence[Path]) -> list[str]:
    """Return a folder name for each path: its last part without the suffix, or as many parts as tell equal ones apart.

    `a/x/run` and `b/x/run` give `a-x-run` and `b-x-run`; the same path twice gives `run` and `run-2`.
    """
    parts = [_name_parts(path) for path in paths]
    full = []
    for own in parts:
        others = [path for path in parts if path != own]
        counts = (n for n in range(1, len(own)) if all(path[-n:] != own[-n:] for path in others))
        full.append("-".join(own[-next(counts, len(own)) :]))
    return [f"{name}-{full[:i].count(name) + 1}" if full[:i].count(name) else name for i, name in enumerate(full)]


def _name_parts(path: Path) -> tuple[str, ...]:
    """Return the parts of a path from the root, without a table's suffix."""
    whole = path if is_remote(path) else Path(os.path.normpath(path.absolute()))
    return (*whole.parts[1:-1], whole.stem if whole.suffix in TABLES else whole.name)
