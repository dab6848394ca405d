"""No augmentation."""

from typing import Literal

from eml.images.augment._augmenter import Augmenter
from eml.images.augment.base import Augment
from eml.images.preprocess import Preprocess


class NoAugment(Augment):
    """Training images without augmentation."""

    type: Literal["none"] = "none"

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Return an augmenter without steps."""
        return Augmenter()
