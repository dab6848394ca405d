"""The adapter to albumentations. No other file imports it, since it is no longer maintained."""

from __future__ import annotations

import inspect
import os
import random
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eml.images.image_size import Size, height_width
from eml.images.preprocess import Pixels
from eml.images.random import Bits

Written = str | Mapping[str, Any]
"""A transform in YAML: its name, or {name: arguments}; the `transforms` of a composition have the same form."""

_RATIOS = {"ratio", "w2h_ratio"}
"""Width to height of a crop that is resized to `size`."""
_SIDES = {"size", "height", "width", "max_size", "min_height", "min_width"}
"""Arguments that become the network's size if they are not set and their default is missing, None or 1024."""


def library() -> Any:
    """Import albumentations without a search for updates, without torch, and with one thread."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # without it, a registry is asked for a newer version
    torch_part = "albumentations.pytorch"
    hidden = torch_part not in sys.modules
    if hidden:
        sys.modules[torch_part] = None  # type: ignore[assignment] # it imports torch, which checking a config must not
    try:
        import albumentations
    finally:
        if hidden:
            del sys.modules[torch_part]
    import cv2

    cv2.setNumThreads(0)  # each worker is one thread; OpenCV's own pool would compete for the cores
    return albumentations


def named(written: Written) -> tuple[str, dict[str, Any]]:
    """Return the name of a transform and its arguments."""
    if isinstance(written, str):
        return written, {}
    ((name, arguments),) = written.items()
    return name, dict(arguments or {})


def filled(cls: type, arguments: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Add the network's size where a required one is missing, and replace INTER_… and BORDER_… by numbers.

    For a network that sees no squares, an aspect ratio that is not set becomes relative to the network's.
    """
    import cv2

    height, width = height_width(size)

    complete = {name: getattr(cv2, value, value) if _is_constant(value) else value for name, value in arguments.items()}
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    for name, parameter in parameters.items():
        required = parameter.default in (inspect.Parameter.empty, None, 1024)
        substitutes = {f"{name}_hw", name.replace("min_", "pad_") + "_divisor"}  # PadIfNeeded accepts one of the two
        if name in _SIDES and required and not {name, *substitutes} & complete.keys():
            if name == "max_size" and height != width:
                complete["max_size_hw"] = (height, width)
            else:
                complete[name] = (height, width) if name == "size" else width if "width" in name else height
    if height != width and "size" in parameters and "size" not in arguments:
        for name in _RATIOS & parameters.keys() - complete.keys():
            usual = parameters[name].default
            relative = tuple(ratio * width / height for ratio in (usual if isinstance(usual, tuple) else (usual,)))
            complete[name] = relative if isinstance(usual, tuple) else relative[0]
    return complete


def _is_constant(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("INTER_", "BORDER_"))


def make(written: Sequence[Written], size: Size) -> list[Any]:
    """Build the transforms for a network whose input is of this size."""
    module, transforms = library(), []
    for entry in written:
        name, arguments = named(entry)
        cls = getattr(module, name)
        if "transforms" in arguments:
            arguments["transforms"] = make(arguments["transforms"], size)
        with warnings.catch_warnings(action="ignore"):  # checking the config has reported the important ones
            transforms.append(cls(**filled(cls, arguments, size)))
    return transforms


class Composed:
    """A sequence of transforms, as a pure function of pixels and seed.

    All transforms share one pair of generators, which is seeded anew for each image. albumentations' own
    `set_random_seed` gives the generators of all transforms the same seed: their draws are then equal, so that of two
    flips of chance 0.5 both happen or neither. It also takes 35 µs per transform, as long as the work itself on small
    images. Pickling keeps only the written form, from which spawned worker processes build their own transforms.
    """

    def __init__(self, written: Sequence[Written], size: Size) -> None:
        self.written, self.size = list(written), size
        self.transforms: list[Any] = make(written, size)
        self._python, self._bits = random.Random(), Bits()
        numbers = np.random.Generator(self._bits)
        for transform in self.transforms:
            transform.set_random_state(numbers, self._python)

    def __reduce__(self) -> tuple[type[Composed], tuple[list[Written], Size]]:
        return type(self), (self.written, self.size)

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """Return the transformed pixels (H, W, 3) uint8; the argument is not changed."""
        self.seed(seed)
        data = {"image": pixels}
        for transform in self.transforms:
            data = transform(**data)
        return data["image"]

    def seed(self, seed: int) -> None:
        """Set both generators to the state that belongs to this seed."""
        self._python.seed(seed)
        self._bits.start(seed)
