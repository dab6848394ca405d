"""The answers of an index: the nearest images of each query, and the class of each image. Notebooks show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from eml.images.thumbnails import SIDE, Thumbnail, file_thumbnail
from eml.indexing.notebook import answers_html, caption_of, figure_html, pairs_html, text_html
from eml.printable import printable_line

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 50
"""Queries or images that a notebook shows."""


@dataclass(frozen=True)
class ImagePlace:
    """The place of an image, so that a page can show it: a file, and the box of it if it is not the whole.

    Attributes:
        path: The file; None for an image that was given as pixels.
        box: x_1, y_1, x_2, y_2 in pixels, right and bottom exclusive.
        pixels: The thumbnail of an image that was given as pixels.
    """

    path: Path | None
    box: tuple[int, int, int, int] | None = None
    pixels: Thumbnail | None = None

    def thumbnail(self, side: int = SIDE) -> Thumbnail:
        """Return the image made small; one without a source where it can no longer be read."""
        if self.path is None:
            return self.pixels or Thumbnail("", side, side, "missing")
        return file_thumbnail(self.path, self.box, side)


NOWHERE = ImagePlace(None)


@dataclass(frozen=True)
class NearImage:
    """An image of the index near a query.

    Attributes:
        rank: From 1.
        label: Its class; empty: none.
        cosine: Of its embedding with the query's.
        probability: That it shows the query's class; None without a calibration.
        file_name: Its name in the index.
        id: Its id in the index.
        place: Where it is.
    """

    rank: int
    label: str
    cosine: float
    probability: float | None
    file_name: str
    id: int
    place: ImagePlace = field(default=NOWHERE, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        return {name: getattr(self, name) for name in ("rank", "label", "cosine", "probability", "file_name", "id")}


@dataclass(frozen=True)
class QueryAnswer(Sequence[NearImage]):
    """The nearest images of one query, best first.

    Attributes:
        query: The query's name.
        neighbours: The images.
        problem: Why the query could not be read; empty: it was.
        place: Where the query is.
        is_text: Whether the query is a text, which is its name.
    """

    query: str
    neighbours: tuple[NearImage, ...]
    problem: str = ""
    place: ImagePlace = field(default=NOWHERE, repr=False, compare=False)
    is_text: bool = False

    def __len__(self) -> int:
        return len(self.neighbours)

    @overload
    def __getitem__(self, number: int) -> NearImage: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[NearImage, ...]: ...
    def __getitem__(self, number: int | slice) -> NearImage | tuple[NearImage, ...]:
        return self.neighbours[number]

    def to_dict(self) -> dict[str, Any]:
        """Return the query and its neighbours as JSON has them; `is_text` and `problem` only where there is one."""
        facts: dict[str, Any] = {"query": self.query, "neighbours": [image.to_dict() for image in self.neighbours]}
        facts |= {"is_text": True} if self.is_text else {}
        return facts | ({"problem": self.problem} if self.problem else {})

    def _repr_html_(self) -> str:
        """Return the query and its neighbours as a notebook shows them."""
        return SearchAnswers((self,))._repr_html_()


@dataclass(frozen=True)
class SearchAnswers(Sequence[QueryAnswer]):
    """The answers of a search, in the order of the queries."""

    queries: tuple[QueryAnswer, ...]

    def __len__(self) -> int:
        return len(self.queries)

    @overload
    def __getitem__(self, number: int) -> QueryAnswer: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[QueryAnswer, ...]: ...
    def __getitem__(self, number: int | slice) -> QueryAnswer | tuple[QueryAnswer, ...]:
        return self.queries[number]

    def __repr__(self) -> str:
        lines = [f"<SearchAnswers of {len(self):,} {'query' if len(self) == 1 else 'queries'}>"]
        for answer in self.queries[:10]:
            near = ", ".join(f"{image.label or image.file_name} {image.cosine:.3f}" for image in answer[:3])
            lines.append(printable_line(f"  {answer.query}: {answer.problem or near or 'nothing'}"))
        return "\n".join(lines + ([f"  and {len(self) - 10:,} more"] if len(self) > 10 else []))

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each neighbour: query, rank, label, cosine, probability, file_name, id."""
        import pandas as pd

        columns = ["query", "rank", "label", "cosine", "probability", "file_name", "id"]
        rows = [[answer.query, *image.to_dict().values()] for answer in self for image in answer]
        return pd.DataFrame(rows, columns=columns)

    def _repr_html_(self) -> str:
        """Return queries and neighbours as thumbnails."""
        rows = []
        for answer in self.queries[:SHOWN]:
            figures = [
                text_html(answer.query)
                if answer.is_text
                else figure_html(answer.place.thumbnail(), answer.query, "query", is_query=True)
            ]
            figures += [
                figure_html(
                    image.place.thumbnail(), image.file_name, caption_of(image.label, image.probability, image.cosine)
                )
                for image in answer
            ]
            rows.append((figures, answer.problem))
        return answers_html(rows, len(self) - len(rows), "queries")


@dataclass(frozen=True)
class ClassifiedImage:
    """The class of an image.

    Attributes:
        file_name: Its name.
        label: The best class, also where the image counts as unknown; None where there is no answer.
        probability: That the class is right; None without a calibration.
        runner_up: The class that comes second; None without one.
        runner_up_probability: That it is right; None without a calibration.
        margin: How far the score of the second class lies behind, on the scale of a cosine.
        cosine: Of the nearest image of the best class.
        unknown: Whether it counts as of none of the classes; None without a calibration.
        reason: Why it has no answer, or counts as unknown; else empty.
        place: Where the image is.
        nearest: Where the nearest image of the best class is.
    """

    file_name: str
    label: str | None = None
    probability: float | None = None
    runner_up: str | None = None
    runner_up_probability: float | None = None
    margin: float | None = None
    cosine: float | None = None
    unknown: bool | None = None
    reason: str = ""
    place: ImagePlace = field(default=NOWHERE, repr=False, compare=False)
    nearest: ImagePlace = field(default=NOWHERE, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        return {name: getattr(self, name) for name in COLUMNS}

    def _repr_html_(self) -> str:
        """Return the image and the nearest one of its class as a notebook shows them."""
        return ClassifiedImages((self,))._repr_html_()


COLUMNS = (
    *(
        "file_name",
        "label",
        "probability",
        "runner_up",
        "runner_up_probability",
        "margin",
        "cosine",
        "unknown",
        "reason",
    ),
)
"""Columns of answers.csv."""


@dataclass(frozen=True)
class ClassifiedImages(Sequence[ClassifiedImage]):
    """The classes of images, in their order."""

    images: tuple[ClassifiedImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, number: int) -> ClassifiedImage: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[ClassifiedImage, ...]: ...
    def __getitem__(self, number: int | slice) -> ClassifiedImage | tuple[ClassifiedImage, ...]:
        return self.images[number]

    def __repr__(self) -> str:
        lines = [f"<ClassifiedImages: {len(self):,}>"]
        for image in self.images[:10]:
            sure = f"cosine {image.cosine:.3f}" if image.probability is None and image.cosine is not None else ""
            sure = f"{image.probability:.3f}" if image.probability is not None else sure
            text = " ".join(filter(None, [image.label, sure, "unknown" if image.unknown else ""]))
            lines.append(printable_line(f"  {image.file_name}: {text or image.reason}"))
        return "\n".join(lines + ([f"  and {len(self) - 10:,} more"] if len(self) > 10 else []))

    def to_pandas(self) -> pd.DataFrame:
        """Return the columns of answers.csv; `unknown` is a nullable boolean."""
        return answers_frame([tuple(getattr(image, name) for name in COLUMNS) for image in self])

    def _repr_html_(self) -> str:
        """Return each image beside the nearest one of its class."""
        rows = []
        for image in self.images[:SHOWN]:
            label = "unknown" if image.unknown else image.label or image.reason
            figures = [figure_html(image.place.thumbnail(), image.file_name, Path(image.file_name).name, is_query=True)]
            if image.label is not None and image.cosine is not None:
                text = caption_of(image.label, image.probability, image.cosine)
                figures.append(figure_html(image.nearest.thumbnail(), image.label, text))
            rows.append((figures, f"{label}" if image.unknown or image.label is None else ""))
        return pairs_html(rows, len(self) - len(rows), "images")


def answers_frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Return the table of classified images. rows: the values of `COLUMNS`."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    numbers = ["probability", "runner_up_probability", "margin", "cosine"]
    return frame.astype({"unknown": "boolean"} | dict.fromkeys(numbers, "float64")).round(dict.fromkeys(numbers, 6))
