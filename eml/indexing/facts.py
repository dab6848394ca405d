"""The facts about an index that `eml index info` shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eml.images.image_size import Size, size_text
from eml.indexing.class_counts import class_sizes
from eml.indexing.model_record import INSIDE, fingerprint_of, model_place
from eml.indexing.stored_calibration import calibration_of

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore


@dataclass(frozen=True)
class IndexFacts:
    """The content of an index.

    Attributes:
        folder: The index's folder.
        images: Its images.
        classes: Its classes.
        without_label: Images of no class.
        smallest: The smallest class and its images; None without classes.
        largest: The largest class and its images; None without classes.
        columns: Column → number, text or bool.
        backbone: Of its model.
        fingerprint: The digest of the model's fingerprint.
        size: Numbers of an embedding.
        image_size: Side of the images (pixels), or (height, width).
        precision: Of the network.
        tta: Test-time augmentation.
        storage: Of the embeddings: float32 or float16.
        model: Where the model is; None where it is gone.
        model_inside: Whether it is inside the index.
        calibration: What the calibration says; None without one.
        generation: The number of changes so far.
        bytes: Of all files, without the model inside.
    """

    folder: str
    images: int
    classes: int
    without_label: int
    smallest: tuple[str, int] | None
    largest: tuple[str, int] | None
    columns: dict[str, str]
    backbone: str
    fingerprint: str
    size: int
    image_size: Size
    precision: str
    tta: str
    storage: str
    model: str | None
    model_inside: bool
    calibration: dict[str, Any] | None
    generation: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        return asdict(self)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each fact and its text."""
        yield "images", f"{self.images:,}"
        yield "classes", self._classes()
        if self.without_label:
            yield "without a label", f"{self.without_label:,} images"
        yield "columns", ", ".join(f"{name} ({kind})" for name, kind in self.columns.items()) or "none of the user's"
        ways = [word for word in (self.precision, f"tta {self.tta}") if word not in ("float32", "tta none")]
        yield "model", ", ".join([self.backbone, f"{size_text(self.image_size)} px", f"{self.size:,} numbers", *ways])
        yield "model's place", "inside the index" if self.model_inside else self.model or "it is gone"
        yield "calibration", self._calibration()
        yield "storage", f"{self.storage}, {self.bytes / 2**20:,.1f} MiB"
        yield "changes", f"{self.generation:,}"

    def _classes(self) -> str:
        if self.smallest is None or self.largest is None:
            return "none"
        sizes = f"{self.smallest[1]:,} to {self.largest[1]:,} images"
        return (
            f"{self.classes:,}, with {sizes if self.smallest[1] != self.largest[1] else f'{self.smallest[1]:,} images'}"
        )

    def _calibration(self) -> str:
        if self.calibration is None:
            return "none: no probabilities, and no image counts as unknown"
        far, error = self.calibration["far"], self.calibration["ece"]["value"]
        own = self.calibration["accepted"]["value"]
        return f"accepts {far:g} of the images of other classes, {own:.2f} of those of its own; error {error:.3f}"


def gather_facts(store: IndexStore) -> IndexFacts:
    """Return the facts about an open index."""
    sizes, info = class_sizes(store), store.info()
    unlabelled = sizes.pop("", 0)
    order = sorted(sizes.items(), key=lambda item: (item[1], item[0]))
    fingerprint, known = fingerprint_of(store), calibration_of(store)
    inside = (store.folder / INSIDE).is_dir()
    return IndexFacts(
        folder=str(store.folder),
        images=len(store),
        classes=len(sizes),
        without_label=unlabelled,
        smallest=order[0] if order else None,
        largest=order[-1] if order else None,
        columns=dict(info.columns),
        backbone=fingerprint.backbone,
        fingerprint=fingerprint.digest,
        size=fingerprint.size,
        image_size=fingerprint.preprocess.size,
        precision=fingerprint.precision,
        tta=fingerprint.tta,
        storage=store.storage,
        model=model_place(store.folder),
        model_inside=inside,
        calibration=None if known is None else known.model_dump(mode="json", include=_SHOWN),
        generation=store.generation,
        bytes=info.bytes + info.derived_bytes,
    )


_SHOWN = {"method", "far", "threshold", "false_accepts", "accepted", "accuracy", "ece", "unknown_share", "notes"}
