"""The adapter to albumentations: the only file that may import it, for it is no longer maintained."""

from __future__ import annotations

import inspect
import os
import random
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eml.images.preprocess import Pixels
from eml.images.random import Bits

Written = str | Mapping[str, Any]
"""A transform as YAML has it: its name, or {name: its arguments}; of a composition, `transforms` are such again."""

_SIDES = {"size", "height", "width", "max_size", "min_height", "min_width"}
"""Arguments that are the network's side where none is given and they have no default, or None or 1024."""


def library() -> Any:
    """The module, imported as it should be."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks a registry for a newer version
    torch_part = "albumentations.pytorch"
    hidden = torch_part not in sys.modules
    if hidden:
        sys.modules[torch_part] = None  # type: ignore[assignment] # it imports torch, which no config's check should
    try:
        import albumentations
    finally:
        if hidden:
            del sys.modules[torch_part]
    import cv2

    cv2.setNumThreads(0)  # each worker is one thread; OpenCV's own pool would fight the others for the cores
    return albumentations


def named(written: Written) -> tuple[str, dict[str, Any]]:
    """The name of a transform and its arguments."""
    if isinstance(written, str):
        return written, {}
    ((name, arguments),) = written.items()
    return name, dict(arguments or {})


def filled(cls: type, arguments: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Arguments with the network's side where a size is needed and none was given; INTER_… and BORDER_… as numbers."""
    import cv2

    given = {name: getattr(cv2, value, value) if _is_constant(value) else value for name, value in arguments.items()}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():  # type: ignore[misc]
        needed = parameter.default in (inspect.Parameter.empty, None, 1024)
        instead = {f"{name}_hw", name.replace("min_", "pad_") + "_divisor"}  # PadIfNeeded takes one of the two
        if name in _SIDES and needed and not {name, *instead} & given.keys():
            given[name] = (side, side) if name == "size" else side
    return given


def _is_constant(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("INTER_", "BORDER_"))


def make(written: Sequence[Written], side: int) -> list[Any]:
    """The transforms, for a network that sees `side` pixels."""
    module, made = library(), []
    for each in written:
        name, arguments = named(each)
        cls = getattr(module, name)
        if "transforms" in arguments:
            arguments["transforms"] = make(arguments["transforms"], side)
        with warnings.catch_warnings(action="ignore"):  # what matters of them was told when the config was checked
            made.append(cls(**filled(cls, arguments, side)))
    return made


class Composed:
    """Transforms one after the other, as a pure function of pixels and seed.

    One pair of generators for all of them, seeded anew for each image. albumentations' own `set_random_seed` gives
    each transform generators of one and the same seed: their draws are then equal, so that of two flips of chance
    0.5 both happen or neither; and it takes 35 µs a transform, as long as the work itself on small images.
    A class and no closure, and pickled as it was written: worker processes that are spawned make their own.
    """

    def __init__(self, written: Sequence[Written], side: int) -> None:
        self.written, self.side = list(written), side
        self.transforms: list[Any] = make(written, side)
        self._python, self._bits = random.Random(), Bits()
        numbers = np.random.Generator(self._bits)
        for each in self.transforms:
            each.set_random_state(numbers, self._python)

    def __reduce__(self) -> tuple[type[Composed], tuple[list[Written], int]]:
        return type(self), (self.written, self.side)

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """(H, W, 3) uint8, a pure function of both; the argument stays as it was."""
        self.seed(seed)
        data = {"image": pixels}
        for each in self.transforms:
            data = each(**data)
        return data["image"]

    def seed(self, seed: int) -> None:
        """Both generators to where they are for this seed."""
        self._python.seed(seed)
        self._bits.start(seed)
