"""Easy Metric Learning: from a folder of images to an embedding model that is measured and ready to use.

Every command is a function here: `eml.scan("photos")`, `eml.train("run.yaml", epochs=3)`. It takes the command's
options by name, prints nothing, and returns a typed result. `eml.load("runs/x")` gives the model.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "scan": "eml.commands.scan",
    "protocol": "eml.commands.protocol",
    "merge": "eml.commands.merge",
    "filter": "eml.commands.filter",
    "split": "eml.commands.split",
    "kfold": "eml.commands.kfold",
    "audit": "eml.commands.audit",
    "report": "eml.commands.report",
    "pack": "eml.commands.pack",
    "backbones": "eml.commands.backbones",
    "probe": "eml.commands.probe",
    "init": "eml.commands.init",
    "fill_cache": "eml.commands.cache",
    "train": "eml.commands.train",
    "sweep": "eml.commands.sweep",
    "plot": "eml.commands.plot",
    "evaluate": "eml.commands.evaluate",
    "calibrate": "eml.commands.calibrate",
    "compress": "eml.commands.compress",
    "ensemble": "eml.commands.ensemble",
    "embed": "eml.commands.embed",
    "text": "eml.commands.text",
    "merge_shards": "eml.commands.merge_shards",
    "export": "eml.commands.export",
    "push": "eml.commands.push",
    "upload": "eml.commands.upload",
    "suspects": "eml.commands.suspects",
    "build_index": "eml.commands.index_build",
    "add_to_index": "eml.commands.index_add",
    "remove_from_index": "eml.commands.index_remove",
    "index_info": "eml.commands.index_info",
    "verify_index": "eml.commands.index_verify",
    "compact_index": "eml.commands.index_compact",
    "calibrate_index": "eml.commands.index_calibrate",
    "export_index": "eml.commands.index_export",
    "search": "eml.commands.search",
    "classify": "eml.commands.classify",
    "add_serve_key": "eml.commands.serve_key_add",
    "list_serve_keys": "eml.commands.serve_key_list",
    "remove_serve_key": "eml.commands.serve_key_remove",
    "serve": "eml.commands.serve",
    "demo": "eml.commands.demo",
    "list_margins": "eml.commands.margins",
    "doctor": "eml.commands.doctor",
    "load": "eml.inference.any_model",
    "load_plugins": "eml.config.plugins",
    "Model": "eml.inference.model",
    "Index": "eml.indexing.index",
    "ClassHead": "eml.head.class_head",
    "margin_logits": "eml.head.functional",
    "margin_loss": "eml.head.functional",
    "RunConfig": "eml.training.config",
    "EmlError": "eml.errors",
}
"""Public name → the module that has it. It is imported on first use, so that `import eml` is quick."""

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "__version__":
        from eml.versions import eml_version

        return eml_version()
    if name not in _PLACES:
        raise AttributeError(f"module 'eml' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
