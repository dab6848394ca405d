"""A folder for timm, sentence-transformers and transformers, with a model card, ready for the hub."""

from pathlib import Path
from typing import Any

from eml.errors import ConfigError
from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.hub.candidate import TimmReading, as_libraries_embed
from eml.exporting.hub.card import write_card
from eml.exporting.hub.card_facts import collect_card_facts, write_card_facts
from eml.exporting.hub.folder import write_hub_folder
from eml.exporting.hub.parts import parts_of
from eml.exporting.hub.seal import EXPORT, seal
from eml.files import write_text
from eml.inference.exported.facts import ExportFacts
from eml.inference.model import Model
from eml.models.hub_folder import CHECKPOINT, checkpoint_digest


class Hub(ExportFormat):
    """A folder that four libraries load, and that `eml push` uploads."""

    name, suffix = "hub", ""

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the folder cannot be written so."""
        super().check(path, settings)
        if settings.input != "uint8":
            text = "`input` is of a graph with the normalisation in it, and `format` hub leaves that to each library"
            raise ConfigError(text, code="conflicting-settings", parameter="input")

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new folder, without facts."""
        parts = parts_of(model)
        facts = write_hub_folder(model, path, parts)
        write_card_facts(path, collect_card_facts(model, parts, settings.licence))
        for sentence in facts.left_out:
            settings.report(sentence)
        return ""

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the folder and its model card, or replace those that are there."""
        lean = facts.model_copy(update={"trained_on": None, "calibration": None})  # the checkpoint in it has both
        write_text(path / EXPORT, lean.text() + "\n")
        write_card(path, facts)
        seal(path)

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the weights of both files."""
        return checkpoint_digest(path / CHECKPOINT)

    def opened(self, path: Path) -> Any:
        """Return the folder as timm and sentence-transformers load it, to be proven."""
        return TimmReading.of_folder(path)

    def reference(self, model: Model) -> Model:
        """Return the model without what the other libraries leave out."""
        return as_libraries_embed(model)
