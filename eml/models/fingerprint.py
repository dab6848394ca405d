"""The fingerprint of a model: what decides its embeddings, as one short text that can be stored and compared.

`eml.models.weights_digest` computes it. Imports no torch, so that an exported model has one without it.
"""

from typing import Any

from pydantic import model_validator

from eml.config import Strict
from eml.images.preprocess import Preprocess, differences
from eml.models.config import EmbeddingPrecision, Tta

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
