"""TorchScript, which torch advises against by now, for programs in C++ that load nothing else."""

import warnings
from pathlib import Path

import torch

from eml.errors import ConfigError, message_lines
from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.graph import InferenceGraph
from eml.inference.exported.facts import ExportFacts
from eml.inference.exported.torch_archive import archive_digest, put_facts
from eml.inference.model import Model

EXAMPLES = 2


class TorchScript(ExportFormat):
    """One archive of torch.jit.trace, for any number of images."""

    name, suffix = "torchscript", ".pt"

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the file cannot be written so."""
        super().check(path, settings)
        if not hasattr(torch.jit, "trace"):
            text = f"torch {torch.__version__} has no TorchScript any more; use `format` torch"
            raise ConfigError(text, code="unsupported-by-backbone", parameter="format")

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new path, without facts."""
        graph = InferenceGraph(model, settings.input).eval().cpu().requires_grad_(False)
        example = graph.example(EXAMPLES, model.preprocess.shape)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                script = torch.jit.trace(graph, (example,), check_trace=False)
                torch.jit.save(script, str(path))
        except Exception as error:  # torch raises many types, each with pages of text
            text = f"torch {torch.__version__} cannot trace this network: {message_lines(error)[0]}"
            raise ConfigError(text, code="unsupported-by-backbone", parameter="format") from error
        put_facts(path, None)
        return ""

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the archive, or replace those that are there."""
        put_facts(path, facts.text())

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the graph and its weights, which facts do not change."""
        return archive_digest(path)
