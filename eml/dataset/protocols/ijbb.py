"""IJB-B: templates of faces."""

from pathlib import Path
from typing import ClassVar, Literal

from eml.dataset.protocols._ijb import ijb_tables, layout_of
from eml.dataset.protocols._lists import located
from eml.dataset.protocols.base import Protocol, ProtocolTables, Work


class Ijbb(Protocol):
    """10,270 pairs of templates of a person and 8,000,000 of different ones. Whitelam 2017, CVPR workshops.

    The layout is that of insightface's IJBB: loose_crop/ with meta/ijbb_name_5pts_score.txt (name, five points, score),
    ijbb_face_tid_mid.txt (name, template, media) and ijbb_template_pair_label.txt (two templates, 0 or 1), as its
    eval_ijbc.py reads them. The faces are aligned by their points to 112 × 112, as MS1M's are.
    """

    type: Literal["ijbb"] = "ijbb"
    title = "IJB-B (1:1 verification)"
    paper = "Whitelam 2017, IARPA Janus Benchmark-B, CVPR workshops"
    licence = "given by NIST on request, for research; not to be passed on"
    layout = layout_of("ijbb")
    official: ClassVar[dict[str, int]] = {
        "test images": 227_630,
        "test templates": 12_115,
        "test same pairs": 10_270,
        "test different pairs": 8_000_000,
    }

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Align the faces and read the templates and pairs."""
        return ijb_tables(located(Ijbb, root), work)
