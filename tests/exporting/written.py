"""Exports for tests, without a command."""

from pathlib import Path

from eml.exporting.formats import FormatSettings, find_format
from eml.inference.exported.facts import ExportFacts
from eml.inference.exported.model import ExportedModel
from eml.inference.model import Model


def written(model: Model, path: Path, settings: FormatSettings) -> ExportedModel:
    form = find_format(None, path)
    form.check(path, settings)
    form.write(model, path, settings)
    facts = ExportFacts(
        eml_version="x",
        input=settings.input,
        preprocess=model.preprocess,
        embedding_size=model.size,
        backbone=model.backbone,
        source=model.fingerprint,
        graph=form.graph_digest(path),
    )
    form.write_facts(path, facts)
    return ExportedModel(path)
