"""The base of the family."""

from eml.config import Choice
from eml.images.augment._augmenter import Augmenter
from eml.images.preprocess import Preprocess


class Augment(Choice):
    """What is done to a training image."""

    def check(self) -> None:
        """Raises ConfigError for what is wrong beyond the config's own rules, such as a library's."""

    def build(self, preprocess: Preprocess) -> Augmenter:
        """For images that `preprocess` brings to the network's size."""
        raise NotImplementedError
