"""Initial weights from another checkpoint of eml."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from eml.errors import CheckpointError
from eml.json_files import read_json
from eml.models.pointers import find_checkpoint


def load_initial_weights(embedder: nn.Module, backbone: str, source: Path) -> None:
    """Load the backbone of a checkpoint into an embedder, and its neck if all of the neck's shapes agree.

    Args:
        embedder: The network to load into.
        backbone: The name of its backbone.
        source: A checkpoint folder, or a run folder whose best checkpoint is read.

    Raises:
        CheckpointError: The checkpoint has another backbone or is damaged.
    """
    folder = find_checkpoint(source)
    try:
        stored_backbone = read_json(folder / "config.json", dict[str, Any])["model"]["backbone"]
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _error(f"{folder}: damaged: {error}", "damaged-file") from error
    if stored_backbone != backbone:
        problem = f"{folder} has backbone {stored_backbone}, the config has {backbone}"
        raise _error(problem, "weights-do-not-fit")
    own = embedder.state_dict()
    neck = {name: tensor.shape for name, tensor in own.items() if name.startswith("neck.")}
    if neck != {name: tensor.shape for name, tensor in tensors.items() if name.startswith("neck.")}:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("neck.")}
        tensors |= {name: own[name] for name in neck}
    try:
        embedder.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise _error(f"{folder} does not fit: {reason}", "weights-do-not-fit") from error


def refuse_not_finite(network: nn.Module, source: str, parameter: str | None = None) -> None:
    """Check that a network's weights give embeddings.

    Args:
        network: The network, with its weights loaded.
        source: Where they come from, for the message.
        parameter: The parameter that named it.

    Raises:
        CheckpointError: A parameter is NaN or infinite, or a buffer is NaN.
    """
    bad = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
    bad += [name for name, buffer in network.named_buffers() if buffer.isnan().any()]  # -inf can be a mask
    if bad:
        text = f"{source}: {len(bad):,} of its tensors have values that are NaN or infinite, first {bad[0]}"
        raise CheckpointError(text, code="damaged-file", parameter=parameter)


def _error(problem: str, code: str) -> CheckpointError:
    return CheckpointError(f"model.weights: {problem}", code=code, parameter="model.weights")
