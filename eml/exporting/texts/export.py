"""The texts' part of an export: the files beside the one with the image tower, or why there are none."""

from dataclasses import dataclass
from pathlib import Path

from eml.errors import CheckpointError
from eml.exporting.formats import ExportFormat, FormatSettings
from eml.exporting.proof.record import ProofLimits
from eml.exporting.texts.tower import NoTextTower, write_text_tower
from eml.inference.exported.facts import KEY
from eml.inference.exported.onnx_bytes import read_metadata
from eml.inference.exported.text_facts import TextFacts, read_text_facts, text_path, tokenizer_path
from eml.inference.model import Model
from eml.progress import Progress


@dataclass(frozen=True)
class ExportedTower:
    """A text tower that was written, or why none was.

    Attributes:
        facts: What its file says of itself; None: there is none.
        reason: Why there is none, for a model that has one; else empty.
    """

    facts: TextFacts | None = None
    reason: str = ""


def export_texts(
    model: Model,
    path: Path,
    image_graph: str,
    form: ExportFormat,
    settings: FormatSettings,
    limits: ProofLimits | None,
    progress: Progress,
) -> ExportedTower:
    """Write the text tower of a model beside its image tower; where it cannot be written, a line says why.

    Args:
        model: The model.
        path: The file with the image tower.
        image_graph: The `graph` in its facts.
        form: Its format.
        settings: Those of the export; the text tower is in float32 in any case.
        limits: What its embeddings have to keep to; None: they are not compared.
        progress: Shows that it is written.
    """
    if model.embedder.text is None or not form.suffix:  # a hub folder has its own way
        return ExportedTower()
    reason = f"`format` {form.name} holds images alone; give `format` onnx to embed texts too"
    if form.has_texts_beside:
        try:
            with progress("exporting the text tower", None):
                return ExportedTower(write_text_tower(model, path, image_graph, settings.opset, limits))
        except NoTextTower as problem:
            reason = str(problem)
            for file in text_files(path):
                file.unlink(missing_ok=True)
    settings.report(f"no text tower is written: {reason}")
    return ExportedTower(reason=reason)


def text_files(path: Path) -> list[Path]:
    """Return the places of the files of the text tower that belongs to a file with an image tower."""
    return [text_path(path), tokenizer_path(path)]


def stale_text_files(path: Path) -> list[Path]:
    """Return the files of a text tower of eml that lie beside a path; none where they are not of eml."""
    tower, tokenizer = text_files(path)
    try:
        read_text_facts(read_metadata(tower).get(KEY), str(tower))
    except CheckpointError:
        return []
    return [file for file in (tower, tokenizer) if file.is_file()]
