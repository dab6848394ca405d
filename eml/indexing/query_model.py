"""Say which models may embed the queries of an index besides its own, and what is known of each."""

import shlex
from pathlib import Path

from eml.errors import CheckpointError
from eml.inference.any_model import AnyModel
from eml.inference.exported.model import ExportedModel
from eml.models.checkpoint import read_compatible
from eml.models.compatible import CompatibleModel, declared
from eml.models.fingerprint import Fingerprint


def declares(name: str, fingerprint: Fingerprint) -> bool:
    """Return whether a checkpoint declares that its queries fit the gallery of a model. name: as `load` takes it."""
    try:
        return any(model.fingerprint == fingerprint.digest for model in read_compatible(Path(name)))
    except CheckpointError:
        return False  # it is no checkpoint, or loading it says what is wrong


def check_query_model(model: AnyModel, fingerprint: Fingerprint, index: Path) -> tuple[str, ...]:
    """Return what to know of a model that embeds the queries of an index; nothing of the index's own.

    Args:
        model: The model.
        fingerprint: Of the model whose embeddings the index holds.
        index: The index's folder.

    Raises:
        CheckpointError: It is another model, and was not measured to fit.
    """
    if model.fingerprint.digest == fingerprint.digest:
        return ()
    if (entry := _declaration(model, fingerprint)) is not None:
        return _notes(model, entry)
    if _is_export_of(model, fingerprint):
        return _notes_on_export(model, index)
    raise CheckpointError(
        f"{_difference(model, fingerprint, index)}. Embeddings of two models cannot be compared, unless the new one "
        f"was trained with compatible_with and says so{_undeclared(model, fingerprint)}",
        code="different-model",
        parameter="model",
    )


def refuse_to_add(model: AnyModel, fingerprint: Fingerprint, index: Path) -> None:
    """Raise a CheckpointError unless a model is that of an index: a gallery is of one model, whatever is declared."""
    if model.fingerprint.digest == fingerprint.digest:
        return
    check_query_model(model, fingerprint, index)
    command = shlex.join(["eml", "index", "build", "NEW_INDEX", model.source, "IMAGES"])
    raise CheckpointError(
        f"{model.source}: embeds queries for {index}, and none of its images: a gallery of two models was measured by "
        f"neither. Add them by the index's own model, or build the index again: {command}",
        code="different-model",
        parameter="model",
    )


def _declaration(model: AnyModel, fingerprint: Fingerprint) -> CompatibleModel | None:
    return declared(model.compatible_with, fingerprint.digest, model.fingerprint.digest)


def _difference(model: AnyModel, fingerprint: Fingerprint, index: Path) -> str:
    return f"{model.source}: is not the model of {index}: {model.fingerprint.difference_from(fingerprint)}"


def _undeclared(model: AnyModel, fingerprint: Fingerprint) -> str:
    """Return what a checkpoint declares of another treatment of its images, or of other models."""
    if isinstance(model, ExportedModel) and model.facts.source.digest == fingerprint.digest:
        return ", or is an export of the index's model with a proof that passed, which this one has not"
    models = model.compatible_with
    if any(entry.fingerprint == fingerprint.digest for entry in models):
        return "; it does so for the way in which it was measured, and is loaded in another one"
    if models:
        return f"; it does so for {', '.join(entry.name for entry in models)}"
    return ""


def _is_export_of(model: AnyModel, fingerprint: Fingerprint) -> bool:
    """Return whether a model is an exported file of another one, and was proven to embed as that does."""
    if not isinstance(model, ExportedModel) or model.facts.source.digest != fingerprint.digest:
        return False
    return model.facts.proof is not None and model.facts.proof.passed


def _notes_on_export(model: AnyModel, index: Path) -> tuple[str, ...]:
    assert isinstance(model, ExportedModel), "it is an export"
    proof = model.facts.proof
    assert proof is not None, "it is proven"
    return (
        f"queries by {model.source}, an export of the model of {index}: proven on {proof.images:,} images, least "
        f"cosine {proof.least_cosine:.6f}",
    )


def _notes(model: AnyModel, entry: CompatibleModel) -> tuple[str, ...]:
    return (f"queries by {model.source}, which declares itself compatible with the index's model: {entry.text}",)


def probability_warning(model: AnyModel, fingerprint: Fingerprint) -> str:
    """Return what to know of the probabilities of an index by a compatible model; empty for the index's own."""
    entry = _declaration(model, fingerprint)
    if model.fingerprint.digest == fingerprint.digest or entry is None:
        return ""
    return (
        "probabilities, and what counts as unknown, were calibrated for the queries of the index's own model, not for "
        f"those of {model.source}: {entry.threshold_text}. Measure it on images of your own (eml evaluate with "
        "`gallery_model`), or build the index again, which calibrates it for the new model"
    )
