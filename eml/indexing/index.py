"""An index that answers: the store of embeddings, its model and their calibration. `eml.Index` is this class."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from eml.errors import ConfigError
from eml.indexing.adding import kept_labels_line, new_images
from eml.indexing.answers import ClassifiedImage, ClassifiedImages, SearchAnswers
from eml.indexing.calibrating import calibrate_if_due
from eml.indexing.class_counts import classes_of
from eml.indexing.classify import Classifier
from eml.indexing.creating import check_new_index, create_index
from eml.indexing.database import local_index
from eml.indexing.model_record import fingerprint_of, load_model_of
from eml.indexing.queries import CHUNK, Queries, are_names, embed_in_parts, embed_list, embed_pixels, embed_texts
from eml.indexing.query_model import check_query_model, probability_warning, refuse_to_add
from eml.indexing.searching import find_neighbours
from eml.indexing.store import IndexStore
from eml.indexing.stored_calibration import calibration_of
from eml.inference.any_model import AnyModel, load
from eml.inference.embed import Batching
from eml.inference.image_list import list_images
from eml.models.fingerprint import Fingerprint
from eml.progress import Progress, Report, no_progress

if TYPE_CHECKING:
    import pandas as pd

    from eml.indexing.changes import AddedImages
    from eml.inference.image_list import ImageList
    from eml.retrieval.answer_calibration import AnswerCalibration

Engine = Literal["exact", "usearch", "faiss"]
Duplicates = Literal["skip", "keep"]
Storage = Literal["float32", "float16"]


class Index:
    """Embeddings of images that answer: the nearest images of a query, and the class of an image or unknown.

    `Index.open("shop.index")` opens one, `Index.build("shop.index", "runs/x", "photos")` makes one, and
    `eml.load("runs/x").index("photos")` makes one for this process alone. It is a context manager.

    Args:
        store: The open store.
        model: Its model; None loads it when it is needed.
        checkpoint: Where to load the model from; None: as the index says.
        device: auto, cpu, cuda, cuda:N or mps.
        temporary: The folder of an index that ends with this object.

    Attributes:
        notes: What to know of the model, once it is loaded: where it is another one than the index's, why it fits.
    """

    def __init__(
        self,
        store: IndexStore,
        *,
        model: AnyModel | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str = "auto",
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.store, self._model, self._checkpoint, self._device = store, model, checkpoint, device
        self._temporary = temporary
        self.notes: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None, device: str = "auto"
    ) -> Self:
        """Open an index.

        Args:
            folder: The index's folder; or the address of a copy that `eml upload` made, which is fetched whole unless
                it was before, and cannot be changed.
            model: A run, checkpoint or timm:NAME to load its model from, or one that declares itself compatible with
                it, for queries alone; None: as the index says. It is loaded when the first image is embedded.
            device: auto, cpu, cuda, cuda:N or mps.

        Raises:
            DataError: The folder is no index, or a file of it is damaged.
        """
        return cls(IndexStore.open(local_index(folder)), checkpoint=model, device=device)

    @classmethod
    def build(
        cls,
        folder: str | os.PathLike[str],
        checkpoint: str | os.PathLike[str] | AnyModel,
        images: Any,
        labels: str | Sequence[str] | None = None,
        *,
        with_model: bool = False,
        storage: Storage = "float32",
        duplicates: Duplicates = "skip",
        progress: Progress = no_progress,
        report: Report = lambda line: None,
    ) -> Self:
        """Make an index of images, whole or not at all, and open it.

        Args:
            folder: The folder to make; it must not exist.
            checkpoint: A run, a checkpoint, timm:NAME, a file of eml export, or a loaded model.
            images: A folder (one folder per class gives the labels), a table, files, or images as pixels.
            labels: One for each image, or one for all.
            with_model: Whether the checkpoint is put inside.
            storage: Of the embeddings; float16 takes half the room.
            duplicates: Whether an image that is there twice is skipped or kept.
            progress: Shows the images.
            report: Receives what is odd.

        Raises:
            OutputError: The folder exists, or cannot be written.
            DataError: No image can be read.
            CheckpointError: The model cannot be loaded.
        """
        check_new_index(Path(folder))
        model = load(checkpoint) if isinstance(checkpoint, str | os.PathLike) else checkpoint
        new = new_images(model, images, labels, progress=progress, report=report)
        create_index(
            Path(folder), model, new, with_model=with_model, storage=storage, duplicates=duplicates, report=report
        )
        return cls(IndexStore.open(Path(folder)), model=model)

    @classmethod
    def of_model(cls, model: AnyModel, images: Any, labels: str | Sequence[str] | None = None) -> Self:
        """Make an index for this process alone, in a temporary folder that ends with it; `Model.index` calls this."""
        temporary = tempfile.TemporaryDirectory(prefix="eml-index-")
        folder = Path(temporary.name) / "index"
        create_index(folder, model, new_images(model, images, labels))
        return cls(IndexStore.open(folder), model=model, temporary=temporary)

    def close(self) -> None:
        """Close the index's files."""
        self.store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.store)

    def __repr__(self) -> str:
        classes = f"{len(self.labels):,} class{'' if len(self.labels) == 1 else 'es'}"
        calibrated = "calibrated" if self.calibration is not None else "not calibrated"
        place = "in memory" if self._temporary is not None else str(self.folder)
        return f"<Index {place}: {len(self):,} images of {classes}, {self.fingerprint.backbone}, {calibrated}>"

    @property
    def folder(self) -> Path:
        """The index's folder."""
        return self.store.folder

    @property
    def labels(self) -> list[str]:
        """The classes, sorted."""
        return classes_of(self.store)

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the embeddings: those of another model are refused."""
        return fingerprint_of(self.store)

    @cached_property
    def model(self) -> AnyModel:
        """The model that embeds the queries, loaded when it is first needed: the index's own, or a compatible one.

        Raises:
            CheckpointError: It is gone, or another one that was not measured to fit.
        """
        model = self._model
        if model is None:
            model = load_model_of(self.folder, self.fingerprint, model=self._checkpoint, device=self._device)
        self.notes = check_query_model(model, self.fingerprint, self.folder)
        return model

    @property
    def own_model(self) -> AnyModel:
        """The model that the index is made with, which alone may add to it and calibrate it.

        Raises:
            CheckpointError: It is gone, or the one that was given is another one.
        """
        refuse_to_add(self.model, self.fingerprint, self.folder)
        return self.model

    @property
    def probability_warning(self) -> str:
        """What to know of probabilities for the queries of a compatible model; empty for the index's own."""
        if self.calibration is None or not self.notes:
            return ""
        return probability_warning(self.model, self.fingerprint)

    @property
    def calibration(self) -> AnswerCalibration | None:
        """The map from cosines to probabilities and the rule for `unknown`; None: there is none."""
        return calibration_of(self.store)

    def add(
        self,
        images: Any,
        labels: str | Sequence[str] | None = None,
        *,
        duplicates: Duplicates = "skip",
        progress: Progress = no_progress,
        report: Report = lambda line: None,
    ) -> AddedImages:
        """Add images in one transaction, and return their ids and what was skipped.

        Args:
            images: A folder, a table, files, or images as pixels.
            labels: One for each image, or one for all; None: those of the folder or table.
            duplicates: Whether an image that is in the index already is skipped or kept.
            progress: Shows the images.
            report: Receives what is odd.

        Raises:
            DataError: No image can be read.
            CheckpointError: The model is gone, or another one, also where it is compatible.
        """
        new = new_images(self.own_model, images, labels, progress=progress, report=report)
        added = self.store.add(new.embeddings, new.rows, duplicates=duplicates, fingerprint=self.model.fingerprint)
        if (line := kept_labels_line(self.folder, new, added)) is not None:
            report(line)
        calibrate_if_due(self.store, self.model, report)
        return added

    def remove(
        self,
        *,
        labels: str | Sequence[str] = (),
        file_names: str | Sequence[str] = (),
        ids: int | Sequence[int] = (),
    ) -> int:
        """Remove the images of these classes, of these file names and of these ids, and return how many there were."""
        return self.store.remove(
            labels=[labels] if isinstance(labels, str) else list(labels),
            file_names=[file_names] if isinstance(file_names, str) else list(file_names),
            ids=[ids] if isinstance(ids, int) else list(ids),
        )

    def search(
        self,
        images: Any = None,
        k: int = 5,
        *,
        text: str | Sequence[str] = (),
        per_class: bool = False,
        where: str | None = None,
        engine: Engine = "exact",
        query_expansion: int | None = None,
    ) -> SearchAnswers:
        """Return the nearest images of each query: of each image, then of each text.

        Args:
            images: A file, a folder, files, or images as pixels; None where there are only texts.
            k: Neighbours of each query.
            text: A text or several, such as "a red mug", for a model with a text tower. Their answers have no
                probabilities: the calibration is about two images.
            per_class: Whether only the nearest image of each class is given.
            where: A condition on the images, such as `category == 'shoes'`.
            engine: exact, or usearch or faiss, which are quicker in large indices.
            query_expansion: Images that each query is averaged with first; there are no probabilities then.

        Raises:
            DataError: The condition or an image that was given as pixels is wrong.
            ConfigError: There is no query, or the model takes no texts.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if images is None and not texts:
            raise ConfigError("search needs `images`, or a query as `text`", code="missing-key", parameter="images")
        queries = [] if images is None else [self.embed(images)]
        queries += [embed_texts(self.model, texts)] if texts else []
        calibration = self.calibration
        answers = [
            find_neighbours(
                self.store,
                part,
                k,
                calibration=calibration,
                per_class=per_class,
                where=where,
                engine=engine,
                query_expansion=query_expansion,
            )
            for part in queries
        ]
        return SearchAnswers(tuple(answer for part in answers for answer in part))

    def classify(self, images: Any) -> ClassifiedImages:
        """Return the class of each image, with its probability and whether the image counts as unknown.

        Without a calibration `probability` and `unknown` are None.

        Args:
            images: A file, a folder, files, or images as pixels.
        """
        if not are_names(images):
            return ClassifiedImages(tuple(self.classifier().classify(self.embed(images))))
        return ClassifiedImages(tuple(image for part in self.classify_list(list_images(images)) for image in part))

    def classify_list(
        self,
        images: ImageList,
        *,
        batching: Batching | None = None,
        unknown_share: float | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Iterator[list[ClassifiedImage]]:
        """Yield the classes of the images of a list, some at a time, so that memory is bounded.

        Args:
            images: The list; its unusable files come at the end.
            batching: Batch size and workers.
            unknown_share: The share of images of no class that is expected; None: that of the calibration.
            advance: Called with the number of images that are done.
        """
        classifier = self.classifier(unknown_share)
        for queries in embed_in_parts(self.model, images, CHUNK, batching, advance):
            yield classifier.classify(queries)

    def classifier(self, unknown_share: float | None = None) -> Classifier:
        """Return what gives images their classes. unknown_share: None is that of the calibration."""
        calibration = self.calibration
        if calibration is not None and unknown_share is not None:
            calibration = calibration.with_unknown_share(unknown_share)
        return Classifier(self.store, calibration)

    def embed(self, images: Any) -> Queries:
        """Return the embeddings of images, given in any way."""
        if are_names(images):
            return embed_list(self.model, list_images(images))
        return embed_pixels(self.model, images)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each image: id, file_name, label, content and the other columns."""
        return self.store.rows()

    def _repr_html_(self) -> str:
        """Return the index as a notebook shows it."""
        from html import escape

        return f"<p><code>{escape(repr(self))}</code></p>"
