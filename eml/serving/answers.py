"""The engine's answers: typed, in the order of the request, each of one model and one generation of the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ItemProblem(NamedTuple):
    """Why an item has no answer: a code of docs/errors.md, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class ServedImage:
    """An image of a request.

    Attributes:
        name: In the answer: the client's name of the file, or its number.
        data: As it was sent; it is decoded in the engine's threads.
        problem: Why there is nothing to decode, such as an address that cannot be fetched; its answer says so.
    """

    name: str
    data: bytes = field(default=b"", repr=False)
    problem: ItemProblem | None = None


@dataclass(frozen=True)
class EmbeddedItem:
    """The embedding of an image or text.

    Attributes:
        name: The image's name, or the text.
        embedding: (D,) float32 of unit length; None where there is a problem.
        problem: Why there is none.
    """

    name: str
    embedding: NDArray[np.float32] | None = field(default=None, compare=False)
    problem: ItemProblem | None = None


@dataclass(frozen=True)
class EmbeddingsReply:
    """The embeddings of a request: images, then texts.

    Attributes:
        model: The digest of the fingerprint of the model that computed them.
        items: In the order of the request.
    """

    model: str
    items: tuple[EmbeddedItem, ...]


@dataclass(frozen=True)
class FoundImage:
    """An image of the index near a query.

    Attributes:
        rank: From 1.
        label: Its class; empty: none.
        cosine: Of its embedding with the query's.
        probability: That it shows the query's class; None without a calibration.
        file_name: Its name in the index, relative to a folder; None where it has none, or one that leads elsewhere.
        id: Its id in the index.
    """

    rank: int
    label: str
    cosine: float
    probability: float | None
    file_name: str | None
    id: int


@dataclass(frozen=True)
class ClassItem:
    """The class of an image; the fields are those of `eml classify`.

    Attributes:
        image: The image's name.
        label: The best class, also where the image counts as unknown; None where there is no answer.
        probability: That the class is right; None without a calibration.
        runner_up: The class that comes second.
        runner_up_probability: That it is right.
        margin: How far the score of the second class lies behind, on the scale of a cosine.
        cosine: Of the nearest image of the best class.
        unknown: Whether it counts as of none of the classes; None without a calibration.
        reason: Why it counts as unknown, or the index has no answer; else empty.
        problem: Why the image could not be read.
    """

    image: str
    label: str | None = None
    probability: float | None = None
    runner_up: str | None = None
    runner_up_probability: float | None = None
    margin: float | None = None
    cosine: float | None = None
    unknown: bool | None = None
    reason: str = ""
    problem: ItemProblem | None = None


@dataclass(frozen=True)
class SearchItem:
    """The nearest images of a query.

    Attributes:
        query: The image's name, or the text.
        neighbours: Best first; none where there is a problem.
        is_text: Whether the query is a text.
        problem: Why there is no answer.
        classified: The class of an image, where that was asked for too.
    """

    query: str
    neighbours: tuple[FoundImage, ...] = ()
    is_text: bool = False
    problem: ItemProblem | None = None
    classified: ClassItem | None = None


@dataclass(frozen=True)
class SearchReply:
    """The answers of a search: of images, then of texts.

    Attributes:
        model: The digest of the fingerprint of the model that embedded the queries.
        generation: Of the index, the same for all answers.
        items: In the order of the request.
    """

    model: str
    generation: int
    items: tuple[SearchItem, ...]


@dataclass(frozen=True)
class ClassifyReply:
    """The classes of images.

    Attributes:
        model: The digest of the fingerprint of the model that embedded the images.
        generation: Of the index, the same for all answers.
        items: In the order of the request.
    """

    model: str
    generation: int
    items: tuple[ClassItem, ...]


@dataclass(frozen=True)
class ChangedItem:
    """An image that was to be added.

    Attributes:
        image: Its name.
        id: Its id in the index; of an image that was there already, the id there; None where there is a problem.
        added: Whether it is new.
        reason: Why it is not, where it was read: its image is there, with its label or another one; else empty.
        keeps_label: Whether what is there has another label than the one that was sent, which changes nothing.
        problem: Why it could not be read.
    """

    image: str
    id: int | None = None
    added: bool = False
    reason: str = ""
    keeps_label: bool = False
    problem: ItemProblem | None = None


@dataclass(frozen=True)
class ChangeReply:
    """A change of the index, made whole.

    Attributes:
        model: The digest of the fingerprint of the model of the index.
        generation: Of the index after the change.
        images: In the index after it.
        added: Images that were added.
        removed: Images that were removed.
        calibrated: Whether answers have probabilities after it.
        recalibrated: Whether the calibration was fitted again to the index's classes.
        without_label: Images that were to be added and have no label: they are found, and are no answer.
        items: The images that were to be added, in the order of the request.
    """

    model: str
    generation: int
    images: int
    added: int = 0
    removed: int = 0
    calibrated: bool = False
    recalibrated: bool = False
    without_label: int = 0
    items: tuple[ChangedItem, ...] = ()


@dataclass(frozen=True)
class ServedIndexState:
    """The state of the index as a client may know it.

    Attributes:
        generation: The number of changes since it was made.
        images: In the index.
        classes: Labels of these.
        columns: Name → text, number or bool: what a condition can name.
        is_calibrated: Whether answers have probabilities.
    """

    generation: int
    images: int
    classes: int
    columns: dict[str, str]
    is_calibrated: bool


@dataclass(frozen=True)
class EngineFacts:
    """The facts of what is served.

    Attributes:
        name: Of the model or index, without a folder.
        fingerprint: The digest of the fingerprint of the model that embeds.
        size: The embedding size D.
        shape: Height and width of its images (pixels).
        backbone: Its name.
        precision: Of its products.
        runtime: torch, or the package that runs an exported file.
        device: The device that it computes on.
        has_index: Whether there is an index to search.
        takes_text: Whether texts are embedded too.
        calibrated: Whether the index gives probabilities; it may change.
        notes: What to know of the model beside the index, a line each; they name files, and are for the server's log.
    """

    name: str
    fingerprint: str
    size: int
    shape: tuple[int, int]
    backbone: str
    precision: str
    runtime: str
    device: str
    has_index: bool
    takes_text: bool
    calibrated: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what a client may know."""
        hidden = ("notes",)
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in hidden}
        return facts | {"shape": list(self.shape)}
