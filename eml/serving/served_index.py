"""An index as a server uses it: answers of one generation each, and changes of one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from eml.errors import DataError, EmlError
from eml.images.locate import stays_below
from eml.indexing.adding import ROOT
from eml.indexing.answers import NOWHERE
from eml.indexing.calibrating import calibrate_if_due
from eml.indexing.classify import Classifier, LabelledTiles
from eml.indexing.condition_time import conditions_within
from eml.indexing.database import NAME, Database
from eml.indexing.image_rows import OWN
from eml.indexing.model_record import fingerprint_of, load_model_of
from eml.indexing.queries import Queries
from eml.indexing.query_model import refuse_to_add
from eml.indexing.rows import rows_of
from eml.indexing.searching import find_neighbours
from eml.indexing.state import read_fact, read_state
from eml.indexing.store import IndexStore
from eml.indexing.stored_calibration import calibration_of
from eml.indexing.where import parse_where
from eml.models.checkpoint import recorded_unknown_label
from eml.printable import printable_line
from eml.serving.answers import (
    ChangedItem,
    ChangeReply,
    ClassifyReply,
    ClassItem,
    EmbeddedItem,
    FoundImage,
    SearchItem,
    SearchReply,
    ServedIndexState,
)

if TYPE_CHECKING:
    from eml.indexing.answers import ClassifiedImage, NearImage, QueryAnswer
    from eml.inference.any_model import AnyModel
    from eml.retrieval.answer_calibration import AnswerCalibration


CONDITION_SECONDS = 5.0
"""The longest time of a condition on rows, which a client writes."""


class ServedIndex:
    """An index that is open three times: for answers, for changes, and for facts, so that none waits for another.

    The methods of answers are called in one thread, those of changes in another one, those of facts in any.

    Args:
        folder: The index.
        model: The model that embeds the queries.
        own_model: What the index's own model is loaded from when images are added, where that is another one.
        device: To load it on.
    """

    def __init__(self, folder: Path, model: AnyModel, own_model: str | None = None, device: str = "auto") -> None:
        self.folder, self.model, self.digest = folder.absolute(), model, model.fingerprint.digest
        self.store, self.changes, self._facts = IndexStore.open(folder), IndexStore.open(folder), Database(folder)
        self._file = _file_of(self.folder)
        self.fingerprint = fingerprint_of(self.store)
        self._own_name, self._device = own_model, device
        self._own = model if self.digest == self.fingerprint.digest else None
        self._tiles: tuple[int, LabelledTiles] | None = None

    def close(self) -> None:
        """Close the files."""
        for opened in (self.store, self.changes, self._facts):
            opened.close()

    @contextmanager
    def _at_its_place(self) -> Iterator[None]:
        """Do what a block does with the index that was opened.

        Raises:
            DataError: The folder is gone, or another index is in its place: what is open still answers, and takes
                changes, but these would be lost.
        """
        self._check_place()
        try:
            yield
        except (EmlError, OSError):
            self._check_place()  # it went in the block, which says more than what failed then
            raise

    def _check_place(self) -> None:
        try:
            file = _file_of(self.folder)
        except OSError:
            text = "the index is gone from its folder; put it back, or start the server with another one"
            raise DataError(text, code="index-is-gone") from None
        if file != self._file:
            text = "another index is in the folder of the one that was opened; start the server again"
            raise DataError(text, code="index-was-replaced")

    @property
    def generation(self) -> int:
        """The number of changes since the index was made, by any process."""
        with self._at_its_place(), self._facts.read() as connection:
            return read_state(connection, self.folder).generation

    def state(self) -> ServedIndexState:
        """Return the facts that a client may know, of one generation."""
        with self._at_its_place(), self._facts.read() as connection:
            state = read_state(connection, self.folder)
            classes = connection.execute("SELECT COUNT(DISTINCT label) FROM images").fetchone()[0]
            is_calibrated = read_fact(connection, "calibration", self.folder) != "null"
        columns = OWN | {column.name: column.kind for column in state.columns if column.name != ROOT}
        return ServedIndexState(state.generation, state.images, classes, dict(columns), is_calibrated)

    def example(self) -> Path | None:
        """Return the file of an image of the index; None where none of the first ones is there."""
        ids = self.store.ids()[:10]
        paths = [row.place.path for row in rows_of(self.store, ids).values()]
        return next((path for path in paths if path is not None and path.is_file()), None)

    def check_condition(self, where: str) -> None:
        """Raise a ConfigError unless a condition can be understood; the folders of the images are not its business."""
        with self._at_its_place():
            self._check_condition(where)

    def _check_condition(self, where: str) -> None:
        parse_where(where, {name: kind for name, kind in self.store.columns.items() if name != ROOT})

    def search(
        self,
        images: Sequence[EmbeddedItem],
        texts: Sequence[EmbeddedItem],
        k: int,
        where: str | None,
        *,
        per_class: bool,
        classify: bool = False,
    ) -> SearchReply:
        """Return the nearest images of embedded queries, all of one generation. classify: also their classes."""
        with self._at_its_place(), self.store.snapshot(), conditions_within(CONDITION_SECONDS):
            calibration = calibration_of(self.store)
            answers: list[SearchItem] = []
            for items, are_texts in ((images, False), (texts, True)):
                queries = _queries(items, self.store.size, are_texts=are_texts)
                part = find_neighbours(
                    self.store, queries, k, per_class=per_class, where=where, calibration=calibration
                )
                answers += map(_search_item, part, items)
            if classify:
                answers[: len(images)] = [
                    replace(answer, classified=item)
                    for answer, item in zip(answers, self.classify(images, None).items, strict=False)
                ]
            return SearchReply(self.digest, self.store.generation, tuple(answers))

    def classify(self, images: Sequence[EmbeddedItem], unknown_share: float | None) -> ClassifyReply:
        """Return the classes of embedded images, all of one generation."""
        with self._at_its_place(), self.store.snapshot():
            generation, calibration = self.store.generation, calibration_of(self.store)
            if calibration is not None and unknown_share is not None:
                calibration = calibration.with_unknown_share(unknown_share)
            classifier = self._classifier(generation, calibration)
            answers = classifier.classify(_queries(images, self.store.size))
            return ClassifyReply(self.digest, generation, tuple(map(_class_item, answers, images)))

    def own_model(self) -> AnyModel:
        """Return the model that the index is made with, which alone adds to it; it is loaded when it is first needed.

        Raises:
            CheckpointError: It is gone.
        """
        if self._own is None:
            own = load_model_of(self.folder, self.fingerprint, model=self._own_name, device=self._device)
            refuse_to_add(own, self.fingerprint, self.folder)
            self._own = own
        return self._own

    def add(
        self,
        images: Sequence[EmbeddedItem],
        contents: Sequence[str],
        labels: Sequence[str],
        file_names: Sequence[str],
    ) -> ChangeReply:
        """Add the images that have an embedding, as one change, and return what came of each."""
        model = self.own_model()
        with self._at_its_place():
            return self._add(images, contents, labels, file_names, model)

    def _add(
        self,
        images: Sequence[EmbeddedItem],
        contents: Sequence[str],
        labels: Sequence[str],
        file_names: Sequence[str],
        model: AnyModel,
    ) -> ChangeReply:
        rows = [row for row, image in enumerate(images) if image.embedding is not None]
        results = [ChangedItem(image.name, problem=image.problem) for image in images]
        added = without_label = 0
        if rows:
            frame = pd.DataFrame(
                {
                    "file_name": [file_names[row] for row in rows],
                    "label": [_without_unknown(labels[row], model) for row in rows],
                    "content": [contents[row] for row in rows],
                    ROOT: "",
                },
                dtype=object,
            )
            vectors = _stacked([images[row] for row in rows], self.changes.size)
            done = self.changes.add(vectors, frame, fingerprint=model.fingerprint)
            there = done.skipped.set_index("row")[["id", "label"]].T.to_dict("list")
            new, sent = iter(done.ids.tolist()), frame["label"].tolist()
            for number, row in enumerate(rows):
                if number not in there:
                    results[row] = ChangedItem(images[row].name, next(new), added=True)
                    continue
                id_, label = int(there[number][0]), str(there[number][1])
                reason, keeps = _why_left_out(label, sent[number], is_new=id_ in done.ids)
                results[row] = ChangedItem(images[row].name, id_, reason=reason, keeps_label=keeps)
            added = len(done.ids)
            without_label = int((frame["label"] == "").sum())
        is_fitted_again = bool(added) and calibrate_if_due(self.changes, model)
        return ChangeReply(
            self.fingerprint.digest,
            self.changes.generation,
            len(self.changes),
            added=added,
            calibrated=calibration_of(self.changes) is not None,
            recalibrated=is_fitted_again,
            without_label=without_label,
            items=tuple(results),
        )

    def remove(self, labels: Sequence[str], file_names: Sequence[str], ids: Sequence[int]) -> ChangeReply:
        """Remove images, as one change.

        Raises:
            DataError: The index has no image of a label, file name or id; nothing is removed.
        """
        with self._at_its_place():
            removed = self.changes.remove(labels=labels, file_names=file_names, ids=ids)
            return ChangeReply(
                self.fingerprint.digest,
                self.changes.generation,
                len(self.changes),
                removed=removed,
                calibrated=calibration_of(self.changes) is not None,
            )

    def _classifier(self, generation: int, calibration: AnswerCalibration | None) -> Classifier:
        """Return what gives images their classes; the codes of the classes are kept while the index stays as it is."""
        if self._tiles is None or self._tiles[0] != generation:
            self._tiles = (generation, LabelledTiles(self.store))
        return Classifier(self.store, calibration, self._tiles[1])


def _file_of(folder: Path) -> tuple[int, int]:
    """Return what tells the database's file from any other one. Raises OSError where there is none."""
    facts = (folder / NAME).stat()
    return facts.st_dev, facts.st_ino


def _why_left_out(label: str, sent: str, *, is_new: bool) -> tuple[str, bool]:
    """Return why an image was not added, and whether it has another label there than the one that was sent.

    is_new: Whether it came into the index earlier in the same request.
    """
    where = "is in this request twice, and was added" if is_new else "is in the index already,"
    reason = f"{where} with the label {printable_line(label)}" if label else f"{where} without a label"
    is_other = sent not in ("", label)
    return reason + ("; remove it first to change that" if is_other else ""), is_other


def _without_unknown(label: str, model: AnyModel) -> str:
    """Return a label, empty where it is the one that the model's training gave to images of unknown identity."""
    facts = getattr(model, "facts", None)
    recorded = facts.unknown_label if facts else recorded_unknown_label(model.folder) if model.folder else None
    return "" if label == recorded else label


def _stacked(items: Sequence[EmbeddedItem], size: int) -> torch.Tensor:
    vectors = [torch.from_numpy(item.embedding) for item in items if item.embedding is not None]
    return torch.stack(vectors) if vectors else torch.zeros(0, size)


def _queries(items: Sequence[EmbeddedItem], size: int, *, are_texts: bool = False) -> Queries:
    return Queries(
        names=[item.name for item in items],
        places=[NOWHERE] * len(items),
        embeddings=_stacked(items, size),
        rows=[row for row, item in enumerate(items) if item.embedding is not None],
        problems={},
        are_texts=are_texts,
    )


def _search_item(answer: QueryAnswer, item: EmbeddedItem) -> SearchItem:
    return SearchItem(answer.query, tuple(map(_near, answer)), answer.is_text, item.problem)


def _near(image: NearImage) -> FoundImage:
    name = image.file_name if image.file_name and stays_below(image.file_name) else None
    return FoundImage(image.rank, image.label, image.cosine, image.probability, name, image.id)


def _class_item(answer: ClassifiedImage, item: EmbeddedItem) -> ClassItem:
    return ClassItem(
        image=item.name,
        label=answer.label,
        probability=answer.probability,
        runner_up=answer.runner_up,
        runner_up_probability=answer.runner_up_probability,
        margin=answer.margin,
        cosine=answer.cosine,
        unknown=answer.unknown,
        reason=answer.reason,
        problem=item.problem,
    )
