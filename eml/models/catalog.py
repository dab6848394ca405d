"""The backbones that there are, and what is known of each without its weights."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from eml.images.image_size import Size, height_width
from eml.models.backbones import ListedBackbone, create_backbone, families
from eml.models.image_sizes import size_rule

TESTED = {
    "CLIP": (
        "vit_base_patch32_clip_224.openai",
        "vit_base_patch16_clip_224.laion2b",
        "vit_large_patch14_clip_224.openai",
        "resnet50_clip.openai",
        "fastvit_mci0.apple_mclip2_dfndr2b",
    ),
    "SigLIP 2": (
        "vit_base_patch32_siglip_256.v2_webli",
        "vit_base_patch16_siglip_224.v2_webli",
        "vit_large_patch16_siglip_256.v2_webli",
    ),
    "DINOv2": (
        "vit_small_patch14_dinov2.lvd142m",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "vit_base_patch14_dinov2.lvd142m",
    ),
    "DINOv3": (
        "vit_small_patch16_dinov3.lvd1689m",
        "vit_base_patch16_dinov3.lvd1689m",
        "convnext_tiny.dinov3_lvd1689m",
    ),
    "PE": (
        "vit_pe_core_tiny_patch16_384.fb",
        "vit_pe_core_small_patch16_384.fb",
        "vit_pe_core_base_patch16_224.fb",
    ),
}
"""Kind → image towers of timm that tests build, train for a step and resize; docs/backbones.md lists them."""
_ALSO_CALLED = {"siglip": ("v2_webli", "siglip2"), "_mci": ("mclip", "mobileclip"), "_pe_": ("", "perception_encoder")}
"""Part of a name → (part of its tag, another word for it)."""


@dataclass(frozen=True)
class BackboneFacts:
    """A backbone as it can be known without its weights.

    Attributes:
        parameters: Weights of the network from images to features, without a classifier.
        size: Side of the images that its weights were trained with (pixels), or (height, width).
        multiple: The sides of other images are multiples of it; 1: any; None: it takes its own size alone.
        embedding_size: The number of features; None where it cannot be known before it is built.
        pooling: How the last features become one vector.
    """

    parameters: int
    size: Size
    multiple: int | None
    embedding_size: int | None
    pooling: str

    @property
    def step(self) -> str:
        """The multiples that the sides of other images are of, in a word: `14`, `any` or `none`."""
        return "none" if self.multiple is None else "any" if self.multiple == 1 else str(self.multiple)


def facts_of(name: str) -> BackboneFacts:
    """Build a backbone without memory and return what is known of it.

    Raises:
        ConfigError: The backbone is unknown.
    """
    rule = size_rule(name)
    with torch.device("meta"):
        model: Any = create_backbone(name, rule.own).eval()
        features: int | None = getattr(model, "num_features", None)
        with suppress(Exception):  # an error of any type, depending on the family
            features = int(model(torch.zeros(1, 3, *height_width(rule.own))).shape[-1])
    return BackboneFacts(
        sum(weights.numel() for weights in model.parameters()),
        rule.own,
        None if rule.is_fixed else rule.multiple,
        features,
        pooling_of(model),
    )


def pooling_of(model: nn.Module) -> str:
    """Return how a network makes one vector of its last features: avg, token, map (attention) or another word."""
    trunk: Any = getattr(getattr(model, "visual", model), "trunk", getattr(model, "visual", model))
    head = getattr(trunk, "head", None)
    if any("attentionpool" in type(part).__name__.lower() for part in (head, getattr(trunk, "attnpool", None))):
        return "map"
    parts = [getattr(head, "global_pool", None), getattr(head, "pool_type", None), getattr(trunk, "global_pool", None)]
    parts += [getattr(trunk, "pool_type", None)]
    words = [word for word in (getattr(part, "pool_type", part) for part in parts) if isinstance(word, str) and word]
    return {"tok": "token"}.get(words[0], words[0]) if words else "own"


def find_backbones(pattern: str | None) -> list[ListedBackbone]:
    """Return the backbones whose names a pattern matches, in the order of their names.

    Args:
        pattern: A part of a name, or a pattern with * and ?; with a family's prefix, such as `open_clip:`, only its.
            None: every name that is quickly listed.

    Raises:
        ConfigError: The package of a family that the pattern names is missing.
    """
    searched = [family for family in families() if family.prefix and (pattern or "").startswith(family.prefix)]
    searched = searched or [family for family in families() if not family.is_listed_slowly]
    every = [backbone for family in searched for backbone in family.listed()]
    return sorted((backbone for backbone in every if _matches(backbone, pattern)), key=lambda own: _order(own.name))


def known_backbones(names: Sequence[str]) -> list[ListedBackbone]:
    """Return the backbones of timm of these names, with the tag of its usual weights where a name says none."""
    listed = families()[0].listed()
    by_name = {own.name: own for own in listed}
    by_name |= {own.name.partition(".")[0]: own for own in reversed(listed)}
    return [by_name[_usual(name)] for name in names if _usual(name) in by_name]


def _usual(name: str) -> str:
    import timm

    settings = None if "." in name else timm.get_pretrained_cfg(name)
    return name if settings is None or not settings.tag else f"{name}.{settings.tag}"


def _matches(backbone: ListedBackbone, pattern: str | None) -> bool:
    if not pattern:
        return True
    name, part = backbone.name.lower(), pattern.lower()
    if any(sign in part for sign in "*?["):
        return fnmatchcase(name, part) or fnmatchcase(name.partition(".")[0], part)
    also = [word for own, (tag, word) in _ALSO_CALLED.items() if own in name and tag in name]
    text = " ".join([name, backbone.words.lower(), *also])
    return part.replace("-", "_") in text.replace("-", "_")


def _order(name: str) -> list[list[tuple[bool, int, str]]]:
    """Return a key that orders by architecture, then by tag, with the numbers in them by their values."""
    return [
        [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D+", text)]
        for text in name.partition(".")
    ]
