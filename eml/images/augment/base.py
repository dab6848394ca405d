"""The base of the family."""

from eml.config import Choice
from eml.images.augment._augmenter import Augmenter
from eml.images.preprocess import Preprocess


class Augment(Choice):
    """The augmentation of training images."""

    def check(self) -> None:
        """Raise ConfigError for problems beyond the config's own rules, such as a library's."""

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Build the augmenter for images that `preprocess` resizes to the network's size."""
        raise NotImplementedError
