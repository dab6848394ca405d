"""Finding what a server answers with: the index or the model, and an exported file of it where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.errors import CheckpointError, ConfigError, EmlError
from eml.indexing.database import local_index
from eml.inference.any_model import load
from eml.inference.exported.names import is_exported
from eml.storage import is_url

if TYPE_CHECKING:
    from eml.inference.any_model import AnyModel
    from eml.models.fingerprint import Fingerprint
    from eml.serving.served_index import ServedIndex

EXPORT = "model.onnx"
"""The name of an exported file that is looked for beside a checkpoint or an index."""
INDEX_FILE = "index.sqlite"


@dataclass(frozen=True)
class Opened:
    """A model and an index that a server answers with.

    Attributes:
        model: What embeds.
        index: What is searched; None: there is none.
        name: What it is called in answers, without a folder.
        notes: What to know of the choice of the model, a line each.
    """

    model: AnyModel
    index: ServedIndex | None
    name: str
    notes: tuple[str, ...]


def open_served(
    source: Path | str, model: str | None, device: str, *, onnx: bool | None, loading: Mapping[str, Any] = {}
) -> Opened:
    """Open an index, run, checkpoint, exported file or timm:NAME. What is at an address is fetched whole.

    Args:
        source: What to open.
        model: For an index: what embeds the queries; None: its own model.
        device: For torch.
        onnx: True: an exported file must be there; False: none is looked for; None: one is taken where it is of the
            same model and was proven, and its package is installed.
        loading: Arguments of `eml.load` for a model without an index.

    Raises:
        DataError: The index is damaged.
        CheckpointError: The model cannot be loaded, or is another one than the index's; or `onnx` is True and there is
            no exported file.
        ConfigError: `model` without an index, `loading` with one.
    """
    source = local_index(source) if is_url(source) else source
    folder = Path(source)
    if (folder / INDEX_FILE).is_file():
        if name := next(iter(loading), None):
            text = f"{source}: is an index, which embeds as it was built, and `{name}` is for a model; leave it out"
            raise ConfigError(text, code="conflicting-settings", parameter=name)
        return _open_index(folder, model, device, onnx=onnx)
    if model is not None:
        text = f"{source}: is no index, and `model` is what embeds the queries of one; leave it out"
        raise ConfigError(text, code="conflicting-settings", parameter="model")
    if is_exported(source):
        return Opened(load(source, device=device, **loading), None, folder.name, ())
    loaded = load(source, device=device, **loading)
    name = str(source) if not folder.exists() else folder.absolute().name
    if onnx is False:
        return Opened(loaded, None, name, ())
    places = [] if loaded.folder is None else [loaded.folder, folder]
    exported, notes = _exported(places, loaded.fingerprint, onnx=onnx)
    return Opened(exported or loaded, None, name, notes)


def _open_index(folder: Path, model: str | None, device: str, *, onnx: bool | None) -> Opened:
    from eml.indexing.index import Index
    from eml.indexing.model_record import model_place
    from eml.serving.served_index import ServedIndex

    notes: tuple[str, ...] = ()
    own = None
    with Index.open(folder, model=model, device=device) as index:
        embedder: AnyModel | None = None
        place = model if model is not None else model_place(folder)
        if onnx is not False and place is not None and not is_exported(place):
            places = [folder, folder / "model", Path(place)]
            embedder, notes = _exported(places, index.fingerprint, onnx=onnx)
            own = model
        if embedder is None:
            embedder = index.model
            notes += index.notes
            if index.probability_warning:
                notes += (index.probability_warning,)
    return Opened(embedder, ServedIndex(folder, embedder, own, device), folder.absolute().name, notes)


def _exported(
    places: list[Path], fingerprint: Fingerprint, *, onnx: bool | None
) -> tuple[AnyModel | None, tuple[str, ...]]:
    """Return an exported file of a model, and what to know of it; None where there is none that can be used."""
    problems: list[str] = []
    for file in _files(places):
        try:
            exported = load(file)
            _refuse_other(exported, fingerprint)
        except EmlError as error:
            problems.append(str(error.problems[0]))
            continue
        return exported, (f"embeds by {file}, an export of the model",)
    if onnx:
        looked = ", ".join(str(place / EXPORT) for place in dict.fromkeys(places)) or "nowhere: the model has no folder"
        why = "; ".join(problems) or f"looked for {looked}"
        text = f"there is no exported file of the model: {why}. Make one with eml export CHECKPOINT CHECKPOINT/{EXPORT}"
        raise CheckpointError(text, code="missing-file", parameter="runtime")
    return None, tuple(f"an exported file is not used: {problem}" for problem in problems)


def _files(places: list[Path]) -> Iterator[Path]:
    for place in dict.fromkeys(places):
        if (place / EXPORT).is_file():
            yield place / EXPORT


def _refuse_other(exported: AnyModel, fingerprint: Fingerprint) -> None:
    """Raise a CheckpointError unless a file was exported from the model, and proven to embed as that does."""
    from eml.inference.exported.model import ExportedModel

    assert isinstance(exported, ExportedModel), "its name is that of an exported file"
    if exported.facts.source.digest != fingerprint.digest:
        text = f"{exported.path}: was exported from another model: "
        raise CheckpointError(text + exported.facts.source.difference_from(fingerprint), code="different-model")
    if exported.facts.proof is None or not exported.facts.proof.passed:
        raise CheckpointError(f"{exported.path}: comes without a proof that passed", code="failed-proof")
    _ = exported.fingerprint  # refuses a graph that was changed after the export
