"""Settings of the network and of the class head; no torch, so that a bad config fails before it loads."""

from typing import Literal

from pydantic import Field

from eml.config import ConfigPath, Strict
from eml.models.necks import Neck
from eml.models.necks.linear import Linear


class ModelConfig(Strict):
    """The network from pixels to embedding."""

    backbone: str = Field("mobilenetv2_100", description="name of a timm model, see timm.list_models()")
    weights: Literal["pretrained", "none"] | ConfigPath = Field(
        "pretrained", description="'pretrained' (timm's, from the hub), 'none' (random), or a safetensors or .pth file"
    )
    freeze: int = Field(
        0, ge=0, description="how many of the backbone's first stages (the stem is the first) stay as they are"
    )
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="frozen: the backbone's BatchNorm layers keep their statistics, which suits small batches"
    )
    neck: Neck = Field(Linear(), description="from pooled features to the embedding")


class HeadConfig(Strict):
    """Settings of the class head that hold for any margin."""

    scale: float | Literal["auto", "paper"] = Field(
        "paper",
        description="factor from cosine to logit: a number, 'auto' for √2·ln(C−1) (arXiv:1905.00292), or 'paper' for "
        "the value the margin's paper trains with, which suits many thousands of classes",
    )
