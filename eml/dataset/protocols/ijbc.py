"""IJB-C: templates of faces."""

from pathlib import Path
from typing import ClassVar, Literal

from eml.dataset.protocols._ijb import ijb_tables, layout_of
from eml.dataset.protocols._lists import located
from eml.dataset.protocols.base import Protocol, ProtocolTables, Work


class Ijbc(Protocol):
    """19,557 pairs of templates of a person and 15,638,932 of different ones. Maze 2018, ICB.

    The layout is that of insightface's IJBC: loose_crop/ with meta/ijbc_name_5pts_score.txt (name, five points, score),
    ijbc_face_tid_mid.txt (name, template, media) and ijbc_template_pair_label.txt (two templates, 0 or 1), as its
    eval_ijbc.py reads them. The faces are aligned by their points to 112 × 112, as MS1M's are.
    """

    type: Literal["ijbc"] = "ijbc"
    title = "IJB-C (1:1 verification)"
    paper = "Maze 2018, IARPA Janus Benchmark-C, ICB"
    licence = "given by NIST on request, for research; not to be passed on"
    layout = layout_of("ijbc")
    official: ClassVar[dict[str, int]] = {
        "test images": 469_375,
        "test templates": 23_124,
        "test same pairs": 19_557,
        "test different pairs": 15_638_932,
    }

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Align the faces and read the templates and pairs."""
        return ijb_tables(located(Ijbc, root), work)
