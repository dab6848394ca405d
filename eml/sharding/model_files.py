"""The files of a model, by which a shard that was embedded by another one is known without loading either."""

from pathlib import Path
from typing import Any

from eml.files import digest, is_path
from eml.models.hub_folder import HUB
from eml.models.pointers import find_checkpoint, fold_runs
from eml.versions import version_of

_OF_EMBEDDINGS = ("config.json", "model.safetensors", "compression.safetensors")
_PACKAGES = ("torch", "timm", "pillow")


def model_inputs(name: str, checkpoint: str, weights: str = "pretrained") -> dict[str, str]:
    """Return the files of a model that its embeddings depend on, each with its digest.

    A pretrained network without training has none but its weights' file: its fingerprint is compared after the work.

    Args:
        name: Begins the names of the files.
        checkpoint: A run, a checkpoint, a cross-validation, a file of eml export, or a name such as timm:resnet50.
        weights: A file for timm:NAME, or pretrained or none.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    inputs = {}
    if weights not in ("pretrained", "none") and is_path(weights) and Path(weights).is_file():
        inputs[f"{name}.weights"] = digest(Path(weights))
    path = Path(checkpoint)
    if checkpoint.startswith(HUB) or not is_path(checkpoint) or not path.exists():
        return inputs
    if path.is_file() and path.suffix:
        return inputs | {name: digest(path)}
    for run in fold_runs(path) or [path]:
        folder = find_checkpoint(run)
        own = name if run == path else f"{name}/{run.name}"
        files = [folder / file for file in _OF_EMBEDDINGS]
        inputs |= {f"{own}/{file.name}": digest(file) for file in files if file.is_file()}
    return inputs


def computing_versions() -> dict[str, Any]:
    """Return the versions of the packages that embeddings depend on."""
    return {name: version_of(name) for name in _PACKAGES}
