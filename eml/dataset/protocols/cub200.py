"""CUB-200-2011: birds."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._boxes import corner_box
from eml.dataset.protocols._lists import by_id, frame_of, located, read_words, refuse, whole
from eml.dataset.protocols._presets import PROXY_ANCHOR_LINES, proxy_anchor
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work
from eml.errors import Problem


class Cub200(Protocol):
    """The first 100 species train, the last 100 are the test, whole images. Song 2016, arXiv:1511.06452, section 5.

    The layout is that of CUB_200_2011.tgz, as its README describes it: images.txt (`<image_id> <image_name>`),
    image_class_labels.txt (`<image_id> <class_id>`), bounding_boxes.txt (`<image_id> <x> <y> <width> <height>`). Its
    own train_test_split.txt is of classification and plays no part.
    """

    type: Literal["cub200"] = "cub200"
    title = "CUB-200-2011"
    paper = "Wah 2011, Caltech CNS-TR-2011-001"
    licence = "the images' copyright is not Caltech's; use is restricted to non-commercial research and education"
    layout = (("images.txt",), ("image_class_labels.txt",), ("images/",))
    official: ClassVar[dict[str, int]] = {
        "train classes": 100,
        "train images": 5_864,
        "test classes": 100,
        "test images": 5_924,
    }
    recall_at = (1, 2, 4, 8)
    has_boxes = True
    preset: ClassVar[dict[str, Any]] = proxy_anchor(
        epochs=60, decay_every=5, factor=0.5, batch_norm="frozen", batch_size=120
    )
    preset_lines = (*PROXY_ANCHOR_LINES, "The authors report R@1 .699, R@2 .796, R@4 .866, R@8 .914 for theirs.")

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read images.txt and image_class_labels.txt, and bounding_boxes.txt for boxes."""
        images, labels, _ = located(Cub200, root)
        names = by_id(images, read_words(images, ("IMAGE_ID", "IMAGE_NAME")))
        classes = by_id(labels, read_words(labels, ("IMAGE_ID", "CLASS_ID")))
        boxes = root / "bounding_boxes.txt"
        corners = by_id(boxes, read_words(boxes, ("IMAGE_ID", "X", "Y", "WIDTH", "HEIGHT"))) if work.boxes else {}
        missing = [name for name in names if name not in classes or (work.boxes and name not in corners)]
        refuse(
            labels, [Problem(f"{labels}: says nothing of image {name}", "not-a-table", "dataset") for name in missing]
        )
        sides: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for number, (name,) in names.items():
            row: dict[str, Any] = {"label": name.rpartition("/")[0], "file_name": f"images/{name}"}
            if work.boxes:
                row |= corner_box(boxes, corners[number])
            sides[whole(labels, classes[number][0], "CLASS_ID") <= 100].append(row)
        train, test = (frame_of(rows, images) for rows in (sides[True], sides[False]))
        return ProtocolTables(root, train, (TestSet("test", test),), (images, labels, *([boxes] if work.boxes else [])))
