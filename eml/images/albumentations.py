"""The adapter to albumentations: the only file that may import it, for it is no longer maintained."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def composed(steps: list[tuple[str, dict[str, Any]]]) -> Composed:
    """(name of a transform, its arguments) each, one after the other."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks a registry for a newer version
    import albumentations as A
    import cv2

    cv2.setNumThreads(0)  # each worker is one thread; OpenCV's own pool would fight the others for the cores
    return Composed(A.Compose([getattr(A, name)(**arguments) for name, arguments in steps]))


class Composed:
    """A class and no closure: worker processes that are spawned get it pickled."""

    def __init__(self, compose: Any) -> None:
        self.compose = compose

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """A new (H, W, 3) uint8 picture; a pure function of both."""
        self.compose.set_random_seed(seed)
        changed: Pixels = self.compose(image=pixels)["image"]
        return changed
