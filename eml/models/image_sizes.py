"""The sizes of images that a network takes."""

import json
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import nn

from eml.errors import ConfigError
from eml.images.image_size import LEAST, MOST, Size, height_width, mean_side, one_form, size_text
from eml.models.backbones import check_backbone, find_family, name_and_definition, preprocess_of
from eml.models.config import ModelConfig

_STEPS = (8, 16, 32, 64)
"""Pixels of the image for one of the last features of networks of stages, some of which need whole multiples of it."""


@dataclass(frozen=True)
class SizeRule:
    """The sides that images may have for a network (pixels).

    Attributes:
        own: The side of the images that its weights were trained with, or their height and width.
        multiple: It takes the multiples of this; 1: any side.
        patch: A side that is no multiple of this would lose its last pixels; 1 where nothing is lost.
        is_fixed: Whether no other size than its own is known to be legal.
    """

    own: Size
    multiple: int = 1
    patch: int = 1
    is_fixed: bool = False

    @property
    def text(self) -> str:
        """The rule in words."""
        if self.is_fixed:
            return f"images of {size_text(self.own)} pixels"
        return "images of any size" if self.multiple == 1 else f"sides that are multiples of {self.multiple} pixels"

    def nearby(self, size: Size) -> tuple[Size, ...]:
        """Return sizes whose sides are the next legal ones below or above those of `size`, the nearest one first."""
        if self.is_fixed:
            return (self.own,)
        height, width = height_width(size)
        pairs = product(self._next_sides(height), self._next_sides(width))
        sizes = [one_form(pair) for pair in pairs if not isinstance(size, int) or pair[0] == pair[1]]
        return tuple(sorted(sizes, key=lambda near: _distance(near, size)))

    def _next_sides(self, side: int) -> list[int]:
        below, least = side // self.multiple * self.multiple, -(-LEAST // self.multiple) * self.multiple
        sides = {below, -(-side // self.multiple) * self.multiple}
        return sorted(legal for legal in sides if least <= legal <= MOST) or [least]


@dataclass(frozen=True)
class _Network:
    """A backbone that can be built without memory; definition: what else it is built from, as JSON."""

    name: str
    definition: str

    def create(self, size: Size) -> nn.Module | None:
        """Return it on the meta device; None for a size that it does not take, or where it cannot be made there."""
        try:
            with torch.device("meta"):
                return find_family(self.name).create(self.name, size, **json.loads(self.definition))
        except Exception:  # an error of any type, depending on the family
            return None


def size_rule(backbone: str | ModelConfig) -> SizeRule:
    """Return the rule of a network: its patches, or the multiples that its stages need, confirmed at two sizes.

    No memory is taken for the weights, and nothing is computed.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.

    Raises:
        ConfigError: The backbone is unknown.
    """
    check_backbone(backbone)
    return _rule(_network(backbone), preprocess_of(backbone).size)


def takes_size(backbone: str | ModelConfig, size: Size) -> bool:
    """Return whether a network takes images of this size without cutting pixels off.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.
        size: A side (pixels) or (height, width).

    Raises:
        ConfigError: The backbone is unknown.
    """
    rule = size_rule(backbone)
    is_whole = all(side % rule.patch == 0 for side in height_width(size))
    return size == rule.own or (is_whole and _runs(_network(backbone), size))


def nearest_size(backbone: str | ModelConfig, size: Size) -> Size:
    """Return the size of images nearest to `size` that a network takes without cutting pixels off.

    Of what is no square each side is the nearest one, and a network that takes no such images gets the nearest square
    of as many pixels.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.
        size: The size to be near to: a side (pixels) or (height, width).

    Raises:
        ConfigError: The backbone is unknown.
    """
    for near in (size, *size_rule(backbone).nearby(size)):
        if takes_size(backbone, near):
            return near
    if isinstance(size, int):
        return least_size(backbone, above=size)
    return nearest_size(backbone, round(mean_side(size)))


def least_size(backbone: str | ModelConfig, *, above: int = 0) -> Size:
    """Return the smallest side of a few above `above` that a network takes; its own size if none is smaller.

    Raises:
        ConfigError: The backbone is unknown.
    """
    rule = size_rule(backbone)
    step = max(rule.multiple, LEAST)
    sides = range((above // step + 1) * step, min(height_width(rule.own)), step)
    return next((side for side in sides if takes_size(backbone, side)), rule.own)


def check_size(backbone: str | ModelConfig, size: Size | None, where: str, *, parameter: str | None = None) -> None:
    """Raise a ConfigError that names the nearest sizes for one that a network does not take.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.
        size: Side of the images (pixels), or (height, width); None: the network's own.
        where: The config's key or the argument that gives the size, for the message.
        parameter: Its name; None: it is `where`.
    """
    if size is None or takes_size(backbone, size):
        return
    rule, name = size_rule(backbone), _network(backbone).name
    legal = [near for near in rule.nearby(size) if near != size and takes_size(backbone, near)]
    if not isinstance(size, int):
        legal = legal[:1] or [nearest_size(backbone, size)]
    if legal:
        nearest = " and ".join(map(size_text, sorted(legal, key=mean_side)))
        text = f"takes {rule.text}, got {size_text(size)}; the nearest {'is' if len(legal) == 1 else 'are'} {nearest}"
    else:
        least = least_size(backbone, above=round(mean_side(size)))
        text = f"takes images from {size_text(least)} pixels on, got {size_text(size)}"
    raise ConfigError(f"{where}: {name} {text}", code="unsupported-by-backbone", parameter=parameter or where)


def _network(backbone: str | ModelConfig) -> _Network:
    name, definition = name_and_definition(backbone)
    return _Network(name, json.dumps(definition, sort_keys=True))


@cache
def _rule(network: _Network, own: Size) -> SizeRule:
    model = network.create(own)
    if model is None:
        return SizeRule(own, is_fixed=True)
    patch, can_try = _patch(model), _runs(network, own)
    for multiple in sorted({patch, _patch_size(model), *_STEPS}):
        is_possible = multiple % patch == 0 and all(side % multiple == 0 for side in height_width(own))
        if is_possible and (not can_try or all(_runs(network, side) for side in _sides_to_try(own, multiple))):
            return SizeRule(own, multiple, patch)
    return SizeRule(own, patch=patch, is_fixed=True)


@cache
def _runs(network: _Network, size: Size) -> bool:
    """Return whether a network runs on images of a size; neither weights nor features take memory."""
    model = network.create(size)
    if model is None:
        return False
    try:
        features = model.eval()(torch.zeros(1, 3, *height_width(size), device="meta"))
    except Exception:  # an error of any type, depending on the family
        return False
    return bool(features.ndim == 2)


def _patch(model: nn.Module) -> int:
    """Return the side of the patches that a transformer cuts images into; 1 where no pixels are lost between them."""
    for part_name, name in (("patch_embed", "proj"), ("patch_embed", "conv1"), ("stem", "proj")):
        part = getattr(model, part_name, None)
        projection = getattr(part, name, None)  # open_clip's own transformers call it conv1
        if not isinstance(projection, nn.Conv2d) or not hasattr(part, "patch_size"):
            continue
        if projection.kernel_size == projection.stride:
            side = max(projection.stride)
            ratio = getattr(part, "feat_ratio", None)  # with what comes before the projection
            return int(ratio()) if side > 1 and callable(ratio) else side
    return 1


def _patch_size(model: nn.Module) -> int:
    """Return what a network calls its patch, which may overlap with its neighbours; 1 without one."""
    side = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return max(side) if isinstance(side, tuple) else side if isinstance(side, int) else 1


def _sides_to_try(own: Size, multiple: int) -> tuple[int, int]:
    """Return two multiples smaller than `own` that are odd multiples of 16 or of less, when they are halved."""
    period = max(2, 32 // multiple)
    start = multiple * period * max(1, round(0.72 * mean_side(own) / multiple / period))
    return start + multiple, start + multiple * (period // 2 + 1)


def _distance(near: Size, size: Size) -> tuple[int, float]:
    """Return how far a size is from another; of two that are equally far the smaller one is nearer."""
    pairs = zip(height_width(near), height_width(size), strict=True)
    return sum(abs(near_side - side) for near_side, side in pairs), mean_side(near)
