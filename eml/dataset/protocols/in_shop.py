"""DeepFashion's In-shop Clothes Retrieval."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._lists import frame_of, located, read_words, refuse
from eml.dataset.protocols._presets import PROXY_ANCHOR_LINES, proxy_anchor
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work
from eml.errors import Problem

SIDES = ("train", "query", "gallery")


class InShop(Protocol):
    """Items of 3,997 classes train; the queries of 3,985 others are searched in a gallery. Liu 2016, CVPR, DeepFashion.

    The layout is that of the benchmark's folder: Eval/list_eval_partition.txt (the count, a header, lines of
    `image_name item_id evaluation_status` with train, query or gallery) and img.zip unpacked in Img/, as its README and
    mmpretrain's InShop describe it. Images are 256 × 256; the larger ones of img_highres.zip are taken where img/ is
    not there, which is not the usual protocol.
    """

    type: Literal["in_shop"] = "in_shop"
    title = "In-shop Clothes Retrieval (DeepFashion)"
    paper = "Liu 2016, DeepFashion, CVPR"
    licence = "non-commercial research and education only; the images are not the authors'"
    layout = (
        ("Eval/list_eval_partition.txt", "list_eval_partition.txt"),
        ("Img/img/", "img/", "Img/img_highres/", "img_highres/"),
    )
    official: ClassVar[dict[str, int]] = {
        "train classes": 3_997,
        "train images": 25_882,
        "test classes": 3_985,
        "queries": 14_218,
        "gallery": 12_612,
    }
    recall_at = (1, 10, 20, 30, 40)
    preset: ClassVar[dict[str, Any]] = proxy_anchor(
        epochs=60, decay_every=20, factor=0.25, batch_norm="train", batch_size=180
    )
    preset_lines = (
        *PROXY_ANCHOR_LINES,
        "For this set the authors give Inception-BN with rate 6e-4 alone: R@1 .919, R@10 .981, R@20 .987, R@30 .990,",
        "R@40 .991; the rate here is theirs for ResNet-50 on the smaller sets.",
    )

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read list_eval_partition.txt."""
        source, images = located(InShop, root)
        before = images.relative_to(root).as_posix()
        rows: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        problems = []
        for name, item, side in read_words(source, ("image_name", "item_id", "evaluation_status"), skip=2):
            if side not in rows:
                text = f"{source}: evaluation_status must be train, query or gallery, got {side!r} for {name}"
                problems.append(Problem(text, "not-a-table", "dataset"))
                continue
            folders = name.split("/")
            row = {"label": item, "file_name": f"{before}/{name.removeprefix('img/')}"}
            rows[side].append(row | {"category": "/".join(folders[1:-2]) if len(folders) > 3 else ""})
        refuse(source, problems)
        test = [
            row | {"is_query": side == "query", "is_gallery": side == "gallery"}
            for side in SIDES[1:]
            for row in rows[side]
        ]
        frames = (frame_of(rows["train"], source), frame_of(test, source))
        return ProtocolTables(root, frames[0], (TestSet("test", frames[1]),), (source,))
