"""Settings of the network. Imports no torch, so that a bad config fails before torch loads."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from eml.config import ConfigPath, NameOrFolder, Strict
from eml.images.image_size import ImageSize
from eml.models.necks import Neck
from eml.models.necks.linear import Linear

EmbeddingPrecision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
"""The number format in which a network that embeds computes its products. Weights and embeddings stay float32."""
Tta = Literal["none", "flip", "crops"]
"""Test-time augmentation, the views of an image whose embeddings are averaged: the image alone; its mirror too; or five
crops of it."""
VIEWS = {"none": 1, "flip": 2, "crops": 5}
"""How often an image goes through the network."""


class Inference(Strict):
    """The key `inference` of a checkpoint's config.json: how it embeds unless it is told otherwise.

    Attributes:
        tta: The views of an image that are averaged.
        size: Side that images are resized to (pixels), or [height, width]; null: as in training.
    """

    tta: Tta = "none"
    size: ImageSize | None = None


class ModelConfig(Strict):
    """The network from pixels to embedding."""

    backbone: NameOrFolder = Field(
        "mobilenetv2_100",
        description="name of a timm model, see timm.list_models(), or hf-hub:OWNER/NAME or local-dir:PATH of one; "
        "open_clip:ARCH/PRETRAINED or open_clip:local-dir:PATH, whose text tower is kept",
    )
    weights: Literal["pretrained", "none"] | ConfigPath = Field(
        "pretrained",
        description="'pretrained' (timm's, from the hub), 'none' (random), a safetensors or .pth file, or the folder "
        "of an eml run or checkpoint with the same backbone, whose neck is loaded too if it fits",
    )
    pooling: Literal["default", "avg", "max", "avgmax", "gem", "token", "map"] = Field(
        "default",
        description="from the last features to one vector, if the family allows it; default: as its weights were "
        "trained; gem: generalised mean; token: the class token; map: attention",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations instead of storing them: less memory, a third more time"
    )
    freeze: int = Field(
        0, ge=0, description="how many of the backbone's first stages (the stem is the first) are not trained"
    )
    batch_norm: Literal["train", "frozen", "synced"] = Field(
        "train",
        description="frozen: the backbone's BatchNorm layers keep their statistics, which suits small batches; synced: "
        "on several GPUs all BatchNorm layers see the whole batch",
    )
    neck: Neck = Field(Linear(), description="from pooled features to the embedding")


class StoredModel(ModelConfig):
    """The network of a checkpoint, which can be built without any other file.

    Attributes:
        definition: What the backbone is built from, where its name alone does not say it.
        folder: That of the checkpoint, with files that belong to the definition; it is not stored.
    """

    definition: dict[str, Any] | None = None
    folder: Path | None = Field(None, exclude=True)

    @model_serializer(mode="wrap")
    def _without_empty_definition(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what an eml that knows no definitions would refuse."""
        written: dict[str, Any] = write(self)
        return written if self.definition is not None else {k: v for k, v in written.items() if k != "definition"}
