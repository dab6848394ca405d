"""The model of an index: inside its folder, or remembered by where it was."""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from eml.config import Strict
from eml.errors import CheckpointError, EmlError, OutputError
from eml.files import moved_along, unwritable, whole_folder, write_json
from eml.images.image_size import ImageSize, Size
from eml.indexing.query_model import check_query_model, declares
from eml.inference.any_model import AnyModel, load
from eml.inference.ensemble import save_model
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.names import is_exported
from eml.inference.load import is_backbone, load_backbone
from eml.json_files import read_json
from eml.models.config import EmbeddingPrecision, Tta
from eml.models.ensemble import members_of
from eml.models.fingerprint import Fingerprint
from eml.models.hub_folder import HUB
from eml.models.pointers import fold_runs
from eml.progress import Report

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore

NAME = "model.json"
INSIDE = "model"
"""The folder of the checkpoint in an index that has its model inside."""


class ModelRecord(Strict):
    """model.json: how the model of an index is loaded again.

    Attributes:
        source: The model as it was named: a run, a checkpoint, timm:NAME, or a file of eml export.
        folder: The checkpoint's folder or the exported file, as an absolute path; null for timm:NAME.
        index: The index's folder then: a checkpoint that was moved together with it is found by it.
        weights: Of timm:NAME: pretrained, none, or a file.
        image_size: Side of the images (pixels), or [height, width]; null is the model's own.
        precision: Of the network.
        tta: Test-time augmentation.
    """

    source: str
    folder: str | None
    index: str
    weights: str = "pretrained"
    image_size: ImageSize | None = None
    precision: EmbeddingPrecision = "float32"
    tta: Tta = "none"


def record_model(
    folder: Path,
    model: AnyModel,
    *,
    index: Path | None = None,
    weights: str = "pretrained",
    image_size: Size | None = None,
) -> ModelRecord:
    """Write into a folder where the model of an index is.

    Args:
        folder: Where to write.
        model: The model.
        index: The index's folder, where it is not this one yet.
        weights: Those that timm:NAME was loaded with.
        image_size: That it was loaded with.
    """
    if isinstance(model, ExportedModel):
        record = ModelRecord(
            source=model.source,
            folder=str(model.path.absolute()),
            index=str((index or folder).absolute()),
            tta=model.tta,
        )
        write_json(folder / NAME, record.model_dump(mode="json"))
        return record
    is_timm = is_backbone(model.source)
    place = Path(model.source) if model.folder is None and fold_runs(Path(model.source)) else model.folder
    record = ModelRecord(
        source=model.source,
        folder=None if place is None else str(place.absolute()),
        index=str((index or folder).absolute()),
        weights=str(Path(weights).absolute()) if is_timm and weights not in ("pretrained", "none") else weights,
        image_size=image_size or (None if model.folder is None else model.preprocess.size),
        precision=model.precision,
        tta=model.tta,
    )
    write_json(folder / NAME, record.model_dump(mode="json"))
    return record


def has_no_place(model: AnyModel) -> bool:
    """Return whether the model has to be put inside an index: several that were loaded together have no one name."""
    if isinstance(model, ExportedModel):
        return False
    return model.folder is None and bool(members_of(model.embedder)) and not fold_runs(Path(model.source))


def put_inside(index: Path, model: AnyModel) -> None:
    """Put a checkpoint of the model, or its exported file, into the index's folder, so that nothing else is needed."""
    if isinstance(model, ExportedModel):
        _copy_files(model.runtime.files(), model.path.parent, index / INSIDE)
    elif model.folder is None:
        save_model(index / INSIDE, model)
    else:  # a tokenizer is in a folder of its own
        _copy_files(sorted(model.folder.rglob("*")), model.folder, index / INSIDE)


def _copy_files(files: Sequence[Path], origin: Path, folder: Path) -> None:
    """Copy files from a folder to a new one."""
    with whole_folder(folder) as temporary:
        for file in files:
            if file.is_file():
                copy = temporary / file.relative_to(origin)
                copy.parent.mkdir(exist_ok=True, parents=True)
                copy.write_bytes(file.read_bytes())


def read_record(index: Path) -> ModelRecord | None:
    """Return the record of an index's model; None where there is none.

    Raises:
        CheckpointError: The file cannot be read.
    """
    file = index / NAME
    if not file.is_file():
        return None
    try:
        return ModelRecord.model_validate(read_json(file))
    except (OSError, ValueError, ValidationError) as error:
        text = f"{file}: cannot be read: {str(error).splitlines()[0]}. Delete it, and give the checkpoint as `model`"
        raise CheckpointError(text, code="damaged-file", parameter="model") from error


def load_model_of(
    index: Path, fingerprint: Fingerprint, *, model: str | os.PathLike[str] | None = None, device: str = "auto"
) -> AnyModel:
    """Load the model of an index, or one for its queries.

    Args:
        index: The index's folder.
        fingerprint: Of the model whose embeddings the index holds.
        model: A run, checkpoint or timm:NAME to load instead, which `check_query_model` has to check: in the way of
            the index, or, where it declares itself compatible, in the way that was measured. None: the index's own.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        CheckpointError: The model is gone, or cannot be read.
    """
    ways: dict[str, Any] = {"precision": fingerprint.precision, "tta": fingerprint.tta, "device": device}
    record = read_record(index)
    if model is not None:
        name = os.fspath(model)
        return load(name, device=device) if declares(name, fingerprint) else _load(name, ways, record)
    if record is None and not (index / INSIDE).is_dir():
        text = f"{index}: does not say where its model is; give the checkpoint as `model`"
        raise CheckpointError(text, code="no-checkpoint", parameter="model")
    problems = []
    for name in _candidates(index, record):
        try:
            loaded = _load(name, ways, record)
            check_query_model(loaded, fingerprint, index)
        except EmlError as error:
            if error.code == "needs-plugin":  # it is the model of the index, and there
                raise
            problems.append(str(error.problems[0]))
            continue
        return loaded
    raise CheckpointError(_gone(index, record, problems), code="no-checkpoint", parameter="model")


def fingerprint_of(store: "IndexStore") -> Fingerprint:
    """Return the fingerprint of the model that made the embeddings of an index.

    Raises:
        CheckpointError: The index does not say it, as a store that was filled without a model.
    """
    if not store.fingerprint:
        text = f"{store.folder}: does not say which model made its embeddings; build it with eml index build, whose "
        raise CheckpointError(text + "model it records", code="no-checkpoint", parameter="index")
    return Fingerprint.model_validate(store.fingerprint)


def _candidates(index: Path, record: ModelRecord | None) -> Iterator[str]:
    """Yield the names by which the model may be loaded."""
    if (index / INSIDE).is_dir():
        yield str(next((file for file in sorted((index / INSIDE).iterdir()) if is_exported(file)), index / INSIDE))
    if record is None:
        return
    if record.folder is None:
        yield record.source
        return
    folder = Path(record.folder)
    moved = moved_along(folder, Path(record.index), index.absolute())
    yield from (str(place) for place in dict.fromkeys((folder, moved)) if place.exists())


def _load(name: str, ways: dict[str, Any], record: ModelRecord | None) -> AnyModel:
    """Load a model as the index recorded it; a backbone at a size that could be chosen when the index was built."""
    if is_exported(name):  # its file says the precision and the views
        return load(name, device=ways["device"])
    own = _own_ways(name, record)
    if is_backbone(name):
        return load_backbone(name, **{"weights": "pretrained", "image_size": None} | own | ways)
    return load(name, **ways, **own)


def _own_ways(name: str, record: ModelRecord | None) -> dict[str, Any]:
    """Return what a model is loaded with besides precision and augmentation, by its name."""
    if record is None or (is_backbone(name) and name != record.source):
        return {}
    return {"image_size": record.image_size} | ({"weights": record.weights} if is_backbone(name) else {})


def _gone(index: Path, record: ModelRecord | None, problems: list[str]) -> str:
    """Return why the model cannot be loaded, and what to do."""
    place = "the model inside" if record is None else record.folder or record.source
    why = f"cannot be loaded ({'; '.join(problems)})" if problems else "is no longer there"
    command = shlex.join(["eml", "index", "info", str(index)])
    return (
        f"{index}: its model, {place}, {why}. Give the checkpoint as `model`; {command} says which one it is. "
        "eml index build can put it inside an index"
    )


def model_to_calibrate(index: Path, report: Report = lambda line: None) -> tuple[Path, Fingerprint]:
    """Return where the model of an index keeps a calibration, and its fingerprint.

    A model without a folder of its own (timm:NAME), or with one in the cache of a hub, is put inside the index.

    Args:
        index: The index's folder.
        report: Receives a line where the model is put inside.

    Raises:
        CheckpointError: The model is gone.
        OutputError: The index's folder cannot be written.
    """
    from eml.indexing.store import IndexStore

    with IndexStore.open(index) as store:
        fingerprint = fingerprint_of(store)
    record = read_record(index)
    has_folder = record is not None and record.folder is not None and not record.source.startswith(HUB)
    if not has_folder and not (index / INSIDE).is_dir():
        if reason := unwritable(index):
            raise OutputError(reason, code="not-writable")
        model = load_model_of(index, fingerprint)
        put_inside(index, model)
        report(f"put {model.source} inside the index: {index / INSIDE}")
    place = model_place(index)
    if place is None:
        raise CheckpointError(_gone(index, record, []), code="no-checkpoint", parameter="checkpoint")
    return Path(place), fingerprint


def model_place(index: Path) -> str | None:
    """Return where the model of an index is, by the name that `load` takes; None where it is gone."""
    record = read_record(index)
    places = list(_candidates(index, record))
    return places[0] if places else None
