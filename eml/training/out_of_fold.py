"""Read embeddings in which to look for label errors, from a cross-validation or a file, and find their images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eml.dataset.image_root import is_own_root, present_root
from eml.dataset.problems import file_problems
from eml.dataset.sidecar import recorded_notes
from eml.dataset.table import Table
from eml.dataset.unknown_label import with_unknown_label
from eml.errors import DataError
from eml.evaluation.outputs import EMBEDDINGS, METRICS
from eml.evaluation.trained_overlap import UNKNOWN_OVERLAP, TrainedOverlap
from eml.files import is_path
from eml.inference.embeddings_file import has_file_names, is_embeddings_file, read_embeddings
from eml.inference.embeddings_output import FINGERPRINT
from eml.json_files import read_json
from eml.models.pointers import FOLDS_FILE, OUT_OF_FOLD_FILE
from eml.retrieval.label_errors import LabelledEmbeddings


def read_embedded(
    source: Path, root: Path | None = None, *, one_network: bool = False, unknown_label: str | None = None
) -> tuple[Path, Path, LabelledEmbeddings]:
    """Return the file that was read, the folder of its images, and the embedded images.

    Args:
        source: The folder of a cross-validation, or a file with embeddings, label, file_name and, when several networks
            computed the embeddings, fold.
        root: The folder of the images; None: as the run or `eml embed` recorded it, else the file's folder.
        one_network: All embeddings are of one network, whatever fold says.
        unknown_label: The label of images of unknown identity, which are left out: no class is right for them.

    Raises:
        DataError: There is no such file, it does not fit, or none of its images is under root.
    """
    path = source / OUT_OF_FOLD_FILE if source.is_dir() else source
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        text = f"{path}: is {kind}, not a file of embeddings"
        raise DataError(text, code="not-a-file", parameter="source")
    if not path.is_file():
        problem = (
            f"{source}: has no {OUT_OF_FOLD_FILE}" if source.is_dir() else f"{source}: there is no such file or folder"
        )
        raise DataError(
            f"{problem}. Run: eml train CONFIG --fold all, which writes one, or give a file of embeddings",
            code="missing-file",
            parameter="source",
        )
    if not is_embeddings_file(path.name) or path.suffix == ".npy":
        raise DataError(
            f"{path}: must be an .npz or .parquet file with embeddings, file_name and label",
            code="wrong-suffix",
            parameter="source",
        )
    table, embeddings = read_embeddings(path)
    table = with_unknown_label(table, unknown_label)
    table, embeddings = table.known, embeddings[torch.from_numpy(~table.is_unknown)]
    frame = table.frame
    if not has_file_names(frame):
        raise DataError(f"{path}: has no column file_name, so the images cannot be found", code="missing-column")
    root = root or _recorded_root(path) or table.root
    missing = file_problems(frame["file_name"], root)
    if problems := [text for row, text in missing if row < 0]:
        raise DataError([f"{path}: {text}" for text in problems], code="missing-image", parameter="root")
    single = one_network or "fold" not in frame or FINGERPRINT in recorded_notes(path)  # `eml embed` has one model
    spaces = None if single else _spaces(path, table)
    names, labels = (frame[column].to_numpy(object) for column in ("file_name", "label"))
    return path, root, LabelledEmbeddings(embeddings, names, labels, spaces)


def read_overlap(path: Path) -> TrainedOverlap:
    """Return how many of the images of an embeddings file its networks were trained on, as the file beside it says.

    That is folds.json of a cross-validation or metrics.json of an evaluation; without them it is unknown.
    """
    beside = {OUT_OF_FOLD_FILE: FOLDS_FILE, EMBEDDINGS: METRICS}.get(path.name)
    return TrainedOverlap.of_facts(_facts(path.parent / beside).get("trained_on")) if beside else UNKNOWN_OVERLAP


def _recorded_root(path: Path) -> Path | None:
    """Return the folder of the images that the run recorded; where it was moved along with the run, that of now."""
    facts = _facts(path.parent / FOLDS_FILE)
    root, folder = facts.get("root"), facts.get("folder")
    if path.name != OUT_OF_FOLD_FILE or not isinstance(root, str) or not is_path(root):
        return None
    then = folder if isinstance(folder, str) and is_path(folder) else None
    present = present_root(root, then, path.parent)
    if present.exists() and not is_own_root(present, root, then, path.parent):
        text = (
            f"{path.parent / FOLDS_FILE}: says that the images are in {present}, and was not written here: it may have "
        )
        text += "come from somebody else, who could then put any images of this computer into a report. If they are "
        raise DataError(f"{text}there, give `root={present}`", code="root-not-trusted", parameter="root")
    return present


def _facts(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one where there is none."""
    try:
        facts: dict[str, Any] = read_json(file, dict[str, Any])
    except (OSError, ValueError):
        return {}
    return facts


def _spaces(path: Path, table: Table) -> NDArray[np.int64]:
    folds = table.frame["fold"].to_numpy()
    if folds.dtype.kind not in "iu":
        raise DataError(
            f"{path}: fold must have whole numbers that say which network computed each embedding, got {folds.dtype}",
            code="invalid-value",
        )
    return folds.astype(np.int64)
