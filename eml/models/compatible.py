"""Declare that a checkpoint's queries fit the gallery of an older model, and what was measured of that."""

from collections.abc import Sequence

from eml.config import Strict

METRIC = "map_at_r"
"""The metric that decides."""


class RatesAtThreshold(Strict):
    """Rates at the calibrated threshold of the older model, on its own gallery.

    Attributes:
        threshold: A cosine.
        old_false_accept: Share of queries of other classes that it accepts by the older model's queries.
        new_false_accept: The same by the queries of the checkpoint.
        old_recognised: Share of queries that are accepted and right by the older model's queries.
        new_recognised: The same by the queries of the checkpoint.
    """

    threshold: float
    old_false_accept: float | None
    new_false_accept: float | None
    old_recognised: float | None
    new_recognised: float | None


class CompatibleModel(Strict):
    """An older model whose gallery the queries of a checkpoint were measured on, and served no worse than its own.

    Attributes:
        fingerprint: Digest of the older model's fingerprint: that of the indices that it made.
        own: Digest of the fingerprint of the checkpoint's model as it was measured; another treatment of its images or
            embeddings was not.
        name: The older model, as the run named it.
        backbone: Its backbone.
        measured_on: The images, in words.
        queries: Their number.
        classes: The number of their classes.
        old: MAP@R of the older model alone.
        crossed: MAP@R of the checkpoint's queries on the older model's gallery.
        new: MAP@R of the checkpoint's model alone.
        interval: Of crossed − old, 95 % over the classes; None with too few classes.
        rates: At the older model's threshold; None where it was not calibrated.
    """

    fingerprint: str
    own: str
    name: str
    backbone: str
    measured_on: str
    queries: int
    classes: int
    old: float
    crossed: float
    new: float
    interval: tuple[float, float] | None = None
    rates: RatesAtThreshold | None = None

    @property
    def is_compatible(self) -> bool:
        """Whether new queries on the old gallery are at least as good as the older model alone.

        The criterion of Shen 2020, arXiv:2003.11942, section 3.1.
        """
        return self.crossed >= self.old

    @property
    def text(self) -> str:
        """What was measured, in a sentence without its end."""
        change = f"change {self.crossed - self.old:+.3f}"
        if self.interval is not None:
            change += f", 95 % interval {self.interval[0]:+.3f} to {self.interval[1]:+.3f}"
        return (
            f"on {self.measured_on}, {self.queries:,} queries of {self.classes:,} classes, MAP@R is {self.old:.3f} by "
            f"the older model alone, {self.crossed:.3f} by queries of the new model on the older one's gallery "
            f"({change}), and {self.new:.3f} by the new model on a gallery of its own"
        )

    @property
    def threshold_text(self) -> str:
        """What holds of the older model's threshold for the new queries, in a sentence without its end."""
        rates = self.rates
        if rates is None or rates.old_false_accept is None or rates.new_false_accept is None:
            return "how many unknown queries its threshold accepts with the new ones was not measured"
        return (
            f"its threshold {rates.threshold:.3f} accepted {rates.new_false_accept:.1%} of the unknown queries by the "
            f"new model, {rates.old_false_accept:.1%} by its own"
        )


def declared(models: Sequence[CompatibleModel], fingerprint: str, own: str) -> CompatibleModel | None:
    """Return the declaration that a model embeds queries for the gallery of another; None where there is none.

    Args:
        models: Those that its checkpoint declares.
        fingerprint: Digest of the gallery's model.
        own: Digest of the model as it is loaded.
    """
    return next((model for model in models if model.fingerprint == fingerprint and model.own == own), None)
