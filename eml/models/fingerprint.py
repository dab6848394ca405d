"""The fingerprint of a model: what decides its embeddings, as one short text that can be stored and compared."""

import json
from hashlib import blake2b
from typing import Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

from eml.config import Strict
from eml.files import text_digest
from eml.images.preprocess import Preprocess, differences
from eml.models.config import EmbeddingPrecision, Tta

_PART = 2**26  # bytes of a tensor that are copied from its device and hashed at once


BEFORE = {"resize": "pillow"}
"""Keys of a preprocessing that came later, with what was done before: with that value they change no digest."""


class Fingerprint(Strict):
    """The fingerprint of a model: embeddings of equal digests may be mixed and compared, others may not.

    Names, paths, devices and versions of eml are no part of it: a checkpoint that was copied or renamed has the same.

    Attributes:
        digest: blake2b-128 of all that follows, of the architecture and of what comes after the network, 32 hex digits.
        backbone: The backbone's name in timm.
        weights: blake2b-128 of the weights in memory: names, types, shapes and values.
        preprocess: The preprocessing of the images.
        precision: Of the network's products.
        tta: Which views of an image are averaged.
        size: The embedding size D.
    """

    digest: str
    backbone: str
    weights: str
    preprocess: Preprocess
    precision: EmbeddingPrecision
    tta: Tta
    size: int

    @model_validator(mode="before")
    @classmethod
    def _as_before_it_was_recorded(cls, data: Any) -> Any:
        """Take Pillow's resizing where a stored fingerprint does not say whose it is."""
        preprocess = data.get("preprocess") if isinstance(data, dict) else None
        return data | {"preprocess": BEFORE | preprocess} if isinstance(preprocess, dict) else data

    def __repr__(self) -> str:
        words = [self.backbone, f"{self.size} numbers", f"weights {self.weights[:8]}", *self.ways]
        return f"<Fingerprint {self.digest}: {', '.join(words)}>"

    @property
    def ways(self) -> list[str]:
        """Words for a precision and a test-time augmentation that are not the usual ones."""
        return ways_of(self.precision, self.tta)

    def difference_from(self, second: "Fingerprint") -> str:
        """Return in words in what this fingerprint differs from another one, such as `tta flip, not none`.

        It is empty for equal digests.
        """
        if self.digest == second.digest:
            return ""
        words = [
            f"{name} {getattr(self, name)}, not {getattr(second, name)}"
            for name in ("backbone", "size", "precision", "tta")
            if getattr(self, name) != getattr(second, name)
        ]
        words += [f"preprocess.{difference}" for difference in differences(self.preprocess, second.preprocess)]
        if self.weights != second.weights and self.backbone == second.backbone:
            words.append("other weights")
        return "; ".join(words) or "another architecture, or another treatment of what the network returns"


def ways_of(precision: EmbeddingPrecision, tta: Tta) -> list[str]:
    """Return words for a precision and a test-time augmentation that are not the usual ones."""
    return [*([] if precision == "float32" else [precision]), *([] if tta == "none" else [f"tta {tta}"])]


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
    hashed = blake2b(digest_size=16)
    for name, tensor in sorted(network.state_dict().items()):
        hashed.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        _hash_values(tensor.detach(), hashed)
    return hashed.hexdigest()


def _hash_values(tensor: Tensor, hashed: blake2b) -> None:
    flat = tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0, dtype=torch.uint8)
    for part in flat.split(_PART):
        hashed.update(part.cpu().numpy())
