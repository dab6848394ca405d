"""VeRi-776: vehicles across cameras."""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._cameras import query_gallery, rows_of
from eml.dataset.protocols._lists import frame_of
from eml.dataset.protocols._presets import reid
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work

NAME = re.compile(r"(?P<label>\d{4})_(?P<camera>c\d{3})_")
EXAMPLE = "0001_c001_00016450_0.jpg"


class Veri776(Protocol):
    """Vehicles of 576 identities train; queries of 200 others are searched in the images of other cameras. Liu 2016.

    The layout is that of VeRi.zip: image_train/, image_query/, image_test/ with names IDENTITY_CAMERA_TIME_NUMBER.jpg,
    as torchreid and fast-reid read it. The query images are in image_test/ too; they are of the query's own camera,
    which is left out.
    """

    type: Literal["veri776"] = "veri776"
    title = "VeRi-776"
    paper = "Liu 2016, ICME and ECCV (PROVID)"
    licence = "non-commercial use only, given on request by its authors; not to be passed on"
    layout = (("image_train/",), ("image_query/",), ("image_test/",))
    official: ClassVar[dict[str, int]] = {
        "train classes": 576,
        "train images": 37_778,
        "test classes": 200,
        "queries": 1_678,
        "gallery": 11_579,
    }
    recall_at = (1, 5, 10)
    leave_out_same = "camera"
    preset: ClassVar[dict[str, Any]] = reid(size=256, epochs=60)
    preset_lines = (
        "ResNet-50, batches of 16 × 4, warm-up of 10 epochs, rate 3.5e-4 falling to a tenth, random erasing: after the",
        "baseline of Luo 2019 (arXiv:1903.07071), with circle loss (Sun 2020, arXiv:2002.10857) in place of its two",
        "losses, 512 dimensions, and 60 epochs.",
    )

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """List the three folders."""
        train, queries, gallery = (
            list(rows_of(root, folder, NAME, EXAMPLE)) for folder in ("image_train", "image_query", "image_test")
        )
        test = query_gallery(queries, gallery, root / "image_test")
        return ProtocolTables(root, frame_of(train, root / "image_train"), (TestSet("test", test),))
