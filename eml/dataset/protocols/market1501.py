"""Market-1501: pedestrians across cameras."""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._cameras import query_gallery, rows_of
from eml.dataset.protocols._lists import frame_of
from eml.dataset.protocols._presets import reid
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work

NAME = re.compile(r"(?P<label>-1|\d{4})_(?P<camera>c\d)s\d_")
EXAMPLE = "0002_c1s1_000451_03.jpg"
JUNK, DISTRACTOR = "-1", "0000"


class Market1501(Protocol):
    """Persons of 751 identities train; queries of 750 others are searched in the images of other cameras. Zheng 2015.

    The layout is that of Market-1501-v15.09.15.zip: bounding_box_train/, query/, bounding_box_test/ with names
    IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg, as torchreid and fast-reid read it. In bounding_box_test/, images of
    identity 0000 are distractors, which stay in the gallery and are nobody's positive; those of −1 have no effect by
    the protocol and are left out.
    """

    type: Literal["market1501"] = "market1501"
    title = "Market-1501"
    paper = "Zheng 2015, Scalable Person Re-identification: A Benchmark, ICCV"
    licence = "its page states no licence and asks to cite the paper; photographs of pedestrians, for research"
    layout = (("bounding_box_train/",), ("query/",), ("bounding_box_test/",))
    official: ClassVar[dict[str, int]] = {
        "train classes": 751,
        "train images": 12_936,
        "test classes": 750,
        "queries": 3_368,
        "gallery": 15_913,
    }
    recall_at = (1, 5, 10)
    leave_out_same = "camera"
    preset: ClassVar[dict[str, Any]] = reid(size=(256, 128), epochs=120)
    preset_lines = (
        "ResNet-50, batches of 16 × 4, warm-up of 10 epochs, rate 3.5e-4 falling to a tenth after a third and again,",
        "120 epochs, random erasing: after the baseline of Luo 2019 (arXiv:1903.07071), with circle loss (Sun 2020,",
        "arXiv:2002.10857) in place of its two losses, and 512 dimensions; images of 256 × 128 px, as there.",
    )

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """List the three folders."""
        train, queries, gallery = (
            list(rows_of(root, folder, NAME, EXAMPLE))
            for folder in ("bounding_box_train", "query", "bounding_box_test")
        )
        kept = [row for row in gallery if row["label"] != JUNK]
        notes = [f"{len(gallery) - len(kept):,} images of identity {JUNK} are left out, as the protocol says"]
        test = query_gallery(queries, kept, root / "bounding_box_test")
        distractors = DISTRACTOR if (test["label"] == DISTRACTOR).any() else None
        return ProtocolTables(
            root,
            frame_of(train, root / "bounding_box_train"),
            (TestSet("test", test, unknown_label=distractors),),
            notes=tuple(notes) if len(kept) < len(gallery) else (),
        )
