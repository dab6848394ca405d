"""Labeled Faces in the Wild: 6,000 pairs."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from eml.dataset.protocols._lists import located, read_text, refuse, whole
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work
from eml.errors import DataError, Problem

FOLDERS = ("lfw/", "lfw_funneled/", "lfw-deepfunneled/lfw-deepfunneled/", "lfw-deepfunneled/", "Aaron_Eckhart/")


class Lfw(Protocol):
    """3,000 pairs of the same person and 3,000 of different ones, in 10 folds. Huang 2007, UMass TR 07-49.

    The layout is that of lfw.tgz or its aligned forms (NAME/NAME_0001.jpg) beside pairs.txt: `10 300`, then in each
    fold 300 lines of `NAME N M` and 300 of `NAME N OTHER M`, as the set's page describes it. A threshold is chosen on
    nine folds and counts on the tenth. Networks that are trained on other data are compared here ("unrestricted, with
    labeled outside data"). For insightface's lfw.bin see ms1m.
    """

    type: Literal["lfw"] = "lfw"
    title = "Labeled Faces in the Wild"
    paper = "Huang 2007, University of Massachusetts, Technical Report 07-49"
    licence = "its page states no licence; photographs of the press, for research, not to show commercial fitness"
    layout = (("pairs.txt", "lfw/pairs.txt"), FOLDERS)
    official: ClassVar[dict[str, int]] = {"test same pairs": 3_000, "test different pairs": 3_000, "test folds": 10}

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read pairs.txt; the images are those of its pairs."""
        source, folder = located(Lfw, root)
        before = "" if folder.name == "Aaron_Eckhart" else folder.relative_to(root).as_posix() + "/"
        suffix = _suffix(root / before)
        pairs = pd.DataFrame(_pairs(source, before, suffix))
        names = sorted({*pairs["file_name_1"], *pairs["file_name_2"]})
        labels = [Path(name).parent.name for name in names]
        test = TestSet("test", pd.DataFrame({"label": labels, "file_name": names}), pairs)
        return ProtocolTables(root, None, (test,), (source,))


def _pairs(source: Path, before: str, suffix: str) -> list[dict[str, Any]]:
    """Return the pairs, each with its fold."""
    lines = [(number, line.split()) for number, line in enumerate(read_text(source).splitlines(), 1) if line.strip()]
    counts = [whole(source, word, "the first line, FOLDS PAIRS,") for word in lines[0][1]] if lines else []
    if len(counts) != 2 or len(lines) - 1 != 2 * counts[0] * counts[1]:
        text = f"{source}: begins with FOLDS PAIRS, such as 10 300, and has twice as many lines after it; found "
        text += f"{' '.join(lines[0][1])!r} and {len(lines) - 1:,} lines" if lines else "nothing"
        raise DataError(text, code="not-a-table", parameter="dataset")
    rows: list[dict[str, Any]] = []
    problems = []
    for place, (number, words) in enumerate(lines[1:]):
        if len(words) not in (3, 4):
            text = f"{source}:{number}: must be NAME N M or NAME N OTHER M, got {' '.join(words)[:80]!r}"
            problems.append(Problem(text, "not-a-table", "dataset"))
            continue
        second = words[2] if len(words) == 4 else words[0]
        files = [
            f"{before}{name}/{name}_{whole(source, digits, 'the number of an image'):04d}{suffix}"
            for name, digits in ((words[0], words[1]), (second, words[-1]))
        ]
        fold = place // (2 * counts[1])
        rows.append({"file_name_1": files[0], "file_name_2": files[1], "same": int(len(words) == 3), "fold": fold})
    refuse(source, problems)
    return rows


def _suffix(folder: Path) -> str:
    """Return the suffix of the images in the folders of the persons: .jpg, or .png of some aligned forms."""
    for person in sorted(folder.iterdir()):
        if person.is_dir() and (names := sorted(person.glob(f"{person.name}_0*"))):
            return names[0].suffix
    raise DataError(f"{folder}: has no NAME/NAME_0001.jpg", code="not-this-layout", parameter="dataset")
