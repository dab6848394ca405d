"""The class of each image, by an index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.indexing.answers import NOWHERE, ClassifiedImage
from eml.indexing.class_counts import classes_of
from eml.indexing.rows import rows_of
from eml.retrieval.class_answers import ClassAnswers, answer_by_classes

if TYPE_CHECKING:
    from eml.indexing.queries import Queries
    from eml.indexing.store import IndexStore
    from eml.retrieval.answer_calibration import AnswerCalibration


class LabelledTiles:
    """The embeddings of an index with the codes of their classes, read from the beginning as often as is needed.

    The codes are looked up once: a tile with other images than before is looked up again.

    Args:
        store: The store.
    """

    def __init__(self, store: IndexStore) -> None:
        self.store = store
        self.classes = classes_of(store)
        self._code = {label: code for code, label in enumerate(self.classes)}
        self._known: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def __call__(self) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """Yield (G, D) embeddings and (G,) codes, −1 for an image without a label."""
        for number, (tile_ids, embeddings) in enumerate(self.store.tiles()):
            ids = np.asarray(tile_ids, np.int64)
            if number >= len(self._known) or not np.array_equal(self._known[number][0], ids):
                codes = np.array([self._code.get(label, -1) for label in self.store.labels(ids)], np.int64)
                self._known[number:] = [(ids, codes)]
            yield embeddings, self._known[number][1]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the rows that were yielded, in their order."""
        return np.concatenate([ids for ids, _ in self._known]) if self._known else np.zeros(0, np.int64)


class Classifier:
    """Gives images the classes of an index.

    Args:
        store: The index's store.
        calibration: The map to probabilities and the rule for `unknown`; None: they are not known.
        tiles: Those of the store where they are read already; the classes are those of its generation.
    """

    def __init__(
        self, store: IndexStore, calibration: AnswerCalibration | None, tiles: LabelledTiles | None = None
    ) -> None:
        self.store, self.calibration = store, calibration
        self.tiles = LabelledTiles(store) if tiles is None else tiles

    def classify(self, queries: Queries) -> list[ClassifiedImage]:
        """Return the class of each query; one that could not be read has none, and says why."""
        images = [
            ClassifiedImage(name, reason=queries.problems.get(row, ""), place=queries.places[row])
            for row, name in enumerate(queries.names)
        ]
        if queries.rows and not self.tiles.classes:
            return [replace(image, reason=image.reason or "the index has no image with a label") for image in images]
        if queries.rows:
            with self.store.snapshot():  # the tiles are read several times
                answers = self.answer(queries.embeddings)
                filled = list(self._filled([images[row] for row in queries.rows], answers))
            for row, image in zip(queries.rows, filled, strict=True):
                images[row] = image
        return images

    def answer(self, embeddings: Tensor) -> ClassAnswers:
        """Return the best classes of queries (Q, D), with the scoring of the calibration."""
        calibration, count = self.calibration, len(self.tiles.classes)
        if calibration is None:
            return answer_by_classes(embeddings, self.tiles, count)
        return answer_by_classes(embeddings, self.tiles, count, calibration.method, temperature=calibration.temperature)

    def _filled(self, images: list[ClassifiedImage], answers: ClassAnswers) -> Iterator[ClassifiedImage]:
        """Yield the images with their answers."""
        count, names, ids = len(answers), self.tiles.classes, self.tiles.ids
        nearest = np.where(answers.nearest_row >= 0, ids[np.maximum(answers.nearest_row, 0)] if len(ids) else -1, -1)
        rows = rows_of(self.store, np.unique(nearest[nearest >= 0]))
        calibration = self.calibration
        probability, second = (None, None) if calibration is None else calibration.probabilities(answers)
        unknown = None if calibration is None else calibration.unknown(answers)
        far = "" if calibration is None else f"{100 * calibration.far:g} %"
        refused = f"below the threshold at which {far} of the images of other classes are accepted"
        for query in range(count):
            best, runner_up = int(answers.best[query]), int(answers.runner_up[query])
            is_unknown = None if unknown is None else bool(unknown[query])
            yield replace(
                images[query],
                label=names[best],
                probability=None if probability is None else float(probability[query]),
                runner_up=names[runner_up] if runner_up >= 0 else None,
                runner_up_probability=float(second[query]) if second is not None and runner_up >= 0 else None,
                margin=float(answers.gap[query]) if runner_up >= 0 else None,
                cosine=float(answers.cosine[query]),
                unknown=is_unknown,
                reason=refused if is_unknown else "",
                nearest=rows[int(nearest[query])].place if nearest[query] >= 0 else NOWHERE,
            )
