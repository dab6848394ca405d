"""The source of the classes for `eml classify`: an index, or names of classes (zero-shot)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.commands.indexing import is_model_name

if TYPE_CHECKING:
    from eml.indexing.index import Index
    from eml.indexing.zero_shot import ZeroShotClassifier
    from eml.inference.any_model import AnyModel
    from eml.progress import Report


@contextmanager
def class_source(
    place: Path,
    names: Path | None,
    template: Sequence[str],
    *,
    model: str | None,
    device: str,
    loading: Mapping[str, Any] = {},
    warn: Report = lambda line: None,
) -> Iterator[Index | ZeroShotClassifier]:
    """Yield what gives images their classes.

    Args:
        place: The index; with names a model that takes texts, or an index with such a model.
        names: A file of class names; None: the classes are those of the index.
        template: Templates of the names.
        model: Where to load the index's model from.
        device: auto, cpu, cuda, cuda:N or mps.
        loading: Arguments of `eml.load` for a model that is named in place of an index: weights, image_size, precision.
        warn: Receives what to know of the names.
    """
    from eml.indexing.database import local_index
    from eml.indexing.index import Index
    from eml.storage.remote_path import is_remote

    place = local_index(place) if is_remote(place) else place
    if names is None:
        _refuse_model(place)
        with Index.open(place, model=model, device=device) as index:
            yield index
        return

    from eml.indexing.zero_shot import ZeroShotClassifier
    from eml.texts.class_texts import TextSource, texts_of
    from eml.texts.names_file import read_names

    labels = list(read_names(names))
    templates = {"template": tuple(template)} if template else {}
    texts = texts_of(None, labels, TextSource.model_validate({"names": names, **templates}), str(names))
    yield ZeroShotClassifier(_model_of_texts(place, model, device, loading), labels, texts, warn)


def _refuse_model(place: Path) -> None:
    """Raise a DataError for the name of a model in place of an index."""
    from eml.errors import CheckpointError, DataError
    from eml.indexing.database import is_index
    from eml.models.pointers import find_checkpoint

    if is_index(place):
        return
    if is_model_name(place):
        text = f"{place} is a model, not an index"
    else:
        try:
            find_checkpoint(place)
        except CheckpointError:
            return  # opening the index says what is wrong
        text = f"{place} is a checkpoint or a run, not an index"
    text += (
        ". Give the folder that eml index build made, or `names`, a file of class names, for a model that takes texts"
    )
    raise DataError(text, code="not-an-index", parameter="index")


def _model_of_texts(place: Path, model: str | None, device: str, loading: Mapping[str, Any]) -> AnyModel:
    """Return the model of an index, or the one that is named in place of an index."""
    from eml.errors import ConfigError
    from eml.indexing.database import is_index
    from eml.indexing.index import Index
    from eml.inference.any_model import load

    if is_index(place):
        if name := next(iter(loading), None):
            text = f"`{name}` is for a model, and {place} is an index, which embeds as it was built"
            raise ConfigError(text, code="conflicting-settings", parameter=name)
        with Index.open(place, model=model, device=device) as index:
            return index.model
    if model is not None:
        text = f"`model` goes with an index, and {place} is none: with `names` it is the model itself"
        raise ConfigError(text, code="conflicting-settings", parameter="model")
    return load(str(place), device=device, **loading)


def zero_shot_warning(classes: int) -> str:
    """Return what to know of the probabilities."""
    return (
        f"zero-shot: the probability compares the {classes:,} names with each other, as the model was trained to; it "
        "is not calibrated, and no image counts as unknown, whatever it shows"
    )
