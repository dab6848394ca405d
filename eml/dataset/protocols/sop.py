"""Stanford Online Products: products of an online shop."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._lists import frame_of, located, read_words
from eml.dataset.protocols._presets import PROXY_ANCHOR_LINES, proxy_anchor
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work

WORDS = ("image_id", "class_id", "super_class_id", "path")


class Sop(Protocol):
    """11,318 products train, 11,316 others are the test. Song 2016, arXiv:1511.06452.

    The layout is that of Stanford_Online_Products.zip: Ebay_train.txt and Ebay_test.txt, a header and lines of
    `image_id class_id super_class_id path`, where the path's folder, such as bicycle_final, is the kind of product.
    """

    type: Literal["sop"] = "sop"
    title = "Stanford Online Products"
    paper = "Song 2016, arXiv:1511.06452"
    licence = "its page states no licence; the images belong to the sellers on eBay, use it for research"
    layout = (("Ebay_train.txt",), ("Ebay_test.txt",))
    official: ClassVar[dict[str, int]] = {
        "train classes": 11_318,
        "train images": 59_551,
        "test classes": 11_316,
        "test images": 60_502,
    }
    recall_at = (1, 10, 100, 1000)
    preset: ClassVar[dict[str, Any]] = proxy_anchor(
        epochs=60, decay_every=20, factor=0.25, batch_norm="train", batch_size=180
    )
    preset_lines = (
        *PROXY_ANCHOR_LINES,
        "For this set the authors give Inception-BN with rate 6e-4 alone: R@1 .792, R@10 .907, R@100 .962, R@1000",
        ".986; the rate here is theirs for ResNet-50 on the smaller sets.",
    )

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read Ebay_train.txt and Ebay_test.txt."""
        train, test = located(Sop, root)
        frames = [
            frame_of([_row(name, path) for _, name, _, path in read_words(source, WORDS, skip=1)], source)
            for source in (train, test)
        ]
        return ProtocolTables(root, frames[0], (TestSet("test", frames[1]),), (train, test))


def _row(label: str, path: str) -> dict[str, Any]:
    return {"label": label, "file_name": path, "category": path.partition("/")[0].removesuffix("_final")}
