"""Computing the fingerprint of a network as it is in memory."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from eml.files import text_digest
from eml.images.preprocess import Preprocess
from eml.models.config import EmbeddingPrecision, Tta
from eml.models.fingerprint import BEFORE, Fingerprint

_PART = 2**26  # bytes of a tensor that are copied from its device and hashed at once


def fingerprint_of(
    network: nn.Module,
    architecture: dict[str, Any],
    preprocess: Preprocess,
    *,
    backbone: str,
    size: int,
    precision: EmbeddingPrecision = "float32",
    tta: Tta = "none",
    after: str = "",
) -> Fingerprint:
    """Return the fingerprint of a network as it is in memory.

    Args:
        network: The network; all its weights are read once.
        architecture: What it was built from, as JSON; empty: what torch prints of it.
        preprocess: The preprocessing of its images.
        backbone: The backbone's name.
        size: The size of the embeddings at the very end.
        precision: Of its products.
        tta: The views of an image that are averaged.
        after: A digest of what comes after the network, such as a compression; empty: nothing.
    """
    weights, pixels = weights_digest_of(network), preprocess.model_dump(mode="json")
    facts = {
        "architecture": without_names(architecture) or {"printed": repr(network)},
        "weights": weights,
        "preprocess": {name: value for name, value in pixels.items() if BEFORE.get(name) != value},
        "precision": precision,
        "tta": tta,
        "size": size,
        "after": after,
    }
    return Fingerprint(
        digest=text_digest(json.dumps(facts, sort_keys=True)),
        backbone=backbone,
        weights=weights,
        preprocess=preprocess,
        precision=precision,
        tta=tta,
        size=size,
    )


def without_names(architecture: dict[str, Any]) -> dict[str, Any]:
    """Return what a network is built from without the name of a backbone that is defined by something else."""
    return architecture | {"backbone": ""} if "definition" in architecture else architecture


def weights_digest_of(network: nn.Module) -> str:
    """Return blake2b-128 of a network's parameters and stored buffers, whatever their device and memory format."""
    return digest_of_tensors(network.state_dict())


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return blake2b-128 of tensors by name: their names, types, shapes and values."""
    hashed = blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        hashed.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        _hash_values(tensor.detach(), hashed)
    return hashed.hexdigest()


def _hash_values(tensor: Tensor, hashed: blake2b) -> None:
    flat = tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0, dtype=torch.uint8)
    for part in flat.split(_PART):
        hashed.update(part.cpu().numpy())
