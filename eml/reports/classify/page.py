"""The page of classified images: one HTML file, the most doubtful answers first."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eml.evaluation.outputs import refuse_page
from eml.files import whole_file
from eml.indexing.answers import ClassifiedImage
from eml.indexing.notebook import percent
from eml.progress import Progress
from eml.reports.answer_thumbnails import place_thumbnails
from eml.reports.rendering import dataset_title, render_page

HERE = Path(__file__).parent
MOST_UNKNOWN, MOST_ACCEPTED, MOST_UNREADABLE = 120, 240, 200


class DoubtOrder:
    """Keeps, of classified images that come part by part, those that the page shows, in the order of their doubt.

    Attributes:
        total: All images.
        counts: unknown, accepted and unreadable → how many.
        classes: Class → its accepted images.
        unreadable: The first ones without an answer.
        true_labels: id of a kept image → its true class, where that is known.
    """

    def __init__(self) -> None:
        self.total = 0
        self.counts = Counter({"unknown": 0, "accepted": 0, "unreadable": 0})
        self.classes: Counter[str] = Counter()
        self.unreadable: list[ClassifiedImage] = []
        self._unknown: list[ClassifiedImage] = []
        self._accepted: list[ClassifiedImage] = []
        self.true_labels: dict[int, str] = {}

    def take(self, images: Sequence[ClassifiedImage], labels: Sequence[str] = ()) -> None:
        """Take some images. labels: their true classes, empty where an image has none; () marks none."""
        self.total += len(images)
        unreadable = [image for image in images if image.label is None]
        unknown = [image for image in images if image.label is not None and image.unknown]
        accepted = [image for image in images if image.label is not None and not image.unknown]
        self.counts.update(unknown=len(unknown), accepted=len(accepted), unreadable=len(unreadable))
        self.classes.update(str(image.label) for image in accepted)
        self.unreadable = [*self.unreadable, *unreadable][:MOST_UNREADABLE]
        self._unknown = sorted([*self._unknown, *unknown], key=_sureness, reverse=True)[:MOST_UNKNOWN]
        self._accepted = sorted([*self._accepted, *accepted], key=_sureness)[:MOST_ACCEPTED]
        known = self.true_labels | {id(image): label for image, label in zip(images, labels, strict=False) if label}
        kept = {id(image) for image in (*self._unknown, *self._accepted)}
        self.true_labels = {key: label for key, label in known.items() if key in kept}

    def true_label(self, image: ClassifiedImage) -> str | None:
        """Return the true class of one of the images, where it is known."""
        return self.true_labels.get(id(image))

    @property
    def unknown(self) -> list[ClassifiedImage]:
        """Those that count as unknown; the one whose class is most probable first."""
        return self._unknown

    @property
    def accepted(self) -> list[ClassifiedImage]:
        """Those that have an answer, the least sure first."""
        return self._accepted


def _sureness(image: ClassifiedImage) -> tuple[float, float]:
    """Return what sorts answers by doubt: the probability, without a calibration the margin."""
    margin = -1.0 if image.margin is None else image.margin
    return (margin if image.probability is None else image.probability, margin)


def write_classify_page(
    order: DoubtOrder,
    path: Path,
    *,
    name: str,
    index: Path,
    calibrated: bool,
    names: int | None = None,
    truth: Sequence[tuple[str, str, str]] = (),
    command: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the page; only a page that eml wrote is replaced.

    Args:
        order: The classified images.
        path: The HTML file to write.
        name: Of the images, for the title.
        index: The index's folder.
        calibrated: Whether probabilities and `unknown` are known.
        names: The number of class names that the images were compared with; None: they were classified by an index.
        truth: What was measured against the true classes: name, value, interval.
        command: The command that writes the page again.
        progress: Shows the images that are read.

    Raises:
        OutputError: The file is not a page that eml wrote, or it cannot be written.
    """
    refuse_page(path)
    places = [
        place
        for image in (*order.unknown, *order.accepted)
        for place in (image.place, image.nearest)[: 2 if names is None else 1]
    ]
    html = render_page(
        HERE,
        filters={"percent": percent},
        title=dataset_title(Path(name)),
        index=index.name if names is not None else index.absolute().name,
        names=names,
        total=order.total,
        counts=order.counts,
        classes=order.classes.most_common(),
        unknown=order.unknown,
        accepted=order.accepted,
        unreadable=order.unreadable,
        calibrated=calibrated,
        truth=truth,
        true_label=order.true_label,
        command=command,
        small=place_thumbnails(places, progress),
    )
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
