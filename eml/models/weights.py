"""Initial weights from another checkpoint of eml."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from eml.errors import CheckpointError, ConfigError
from eml.images.image_size import Size, checked_size
from eml.json_files import read_json
from eml.models.hub_folder import checkpoint_tensors
from eml.models.pointers import find_checkpoint
from eml.models.positions import with_positions

Resample = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor] | None]
"""Weights of a backbone, and the backbone → the weights for its size of images; None where it cannot be done."""


def load_initial_weights(embedder: nn.Module, backbone: str, source: Path, resample: Resample) -> None:
    """Load the backbone of a checkpoint into an embedder, and its neck if all of the neck's shapes agree.

    Args:
        embedder: The network to load into.
        backbone: The name of its backbone.
        source: A checkpoint folder, or a run folder whose best checkpoint is read.
        resample: Makes the weights of another size of images those of the embedder's.

    Raises:
        CheckpointError: The checkpoint has another backbone or is damaged.
    """
    folder = find_checkpoint(source)
    try:
        config = read_json(folder / "config.json", dict[str, Any])
        stored_backbone, members = config["model"]["backbone"], config.get("members") or ()
        size = checked_size(config["preprocess"]["size"], "size") or 0
        tensors = checkpoint_tensors(folder)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, ConfigError) as error:
        raise _error(f"{folder}: damaged: {error}", "damaged-file") from error
    if members:
        problem = f"{folder} is an ensemble of {len(members)} networks, and training starts from one"
        raise _error(problem, "weights-do-not-fit")
    if stored_backbone != backbone:
        problem = f"{folder} has backbone {stored_backbone}, the config has {backbone}"
        raise _error(problem, "weights-do-not-fit")
    own = embedder.state_dict()
    neck = {name: tensor.shape for name, tensor in own.items() if name.startswith("neck.")}
    if neck != {name: tensor.shape for name, tensor in tensors.items() if name.startswith("neck.")}:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("neck.")}
        tensors |= {name: own[name] for name in neck}
    try:
        embedder.load_state_dict(at_own_size(tensors, embedder, resample, size))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise _error(f"{folder} does not fit: {reason}", "weights-do-not-fit") from error


def at_own_size(tensors: dict[str, Tensor], embedder: nn.Module, resample: Resample, size: Size) -> dict[str, Tensor]:
    """Return the tensors, resampled where they belong to an image size, such as position embeddings.

    Args:
        tensors: Of a network for images of `size`.
        embedder: The network for images of another size.
        resample: Of its backbone's family.
        size: Of the images that the tensors are for.
    """
    own, prefix = embedder.state_dict(), "backbone."
    inside = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
    placed = with_positions(inside, embedder.get_submodule("backbone"), size)
    tensors = tensors | {prefix + name: tensor for name, tensor in placed.items()}
    if all(own[name].shape == tensor.shape for name, tensor in tensors.items() if name in own):
        return tensors
    resampled = resample(placed, embedder.get_submodule("backbone")) if isinstance(size, int) else None
    if resampled is None:
        return tensors
    buffers = {name for name, _ in embedder.named_buffers()}  # such as tables of positions, which it leaves out
    return (
        {name: own[name] for name in own if name in buffers}
        | {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        | {prefix + name: tensor for name, tensor in resampled.items()}
    )


def weights_without_prefix(tensors: dict[str, Any], names: set[str]) -> tuple[dict[str, Any], str]:
    """Return a file's tensors under a network's own names, and the prefix that was taken away.

    Wrappers of training code put one before all names: `module.`, `model.`, `backbone.`, `_orig_mod.`, or several. It
    is the one under which the file holds most of the network.

    Args:
        tensors: Name → tensor, of the file.
        names: Those of the network.
    """
    candidates = {""}
    for key in tensors:
        parts = key.split(".")
        candidates |= {".".join(parts[:count]) + "." for count in range(1, min(len(parts), 5))}

    def covered(prefix: str) -> int:
        return sum(prefix + name in tensors for name in names)

    best = max(sorted(candidates, key=len), key=covered)
    if not best or 2 * covered(best) < len(names):
        return tensors, ""
    return {key.removeprefix(best): tensor for key, tensor in tensors.items() if key.startswith(best)}, best


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
