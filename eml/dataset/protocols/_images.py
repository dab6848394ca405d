"""The images that a protocol's lists name: which of them are there, and what they say."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from eml.dataset.protocols._boxes import clipped
from eml.dataset.protocols.base import ProtocolTables, TestSet
from eml.dataset.scanning.listing import FileProblem
from eml.dataset.scanning.scan import read_images
from eml.progress import Progress, Report

BLOCK = 4096  # names checked between two steps of the progress


@dataclass(frozen=True)
class ProtocolImages:
    """The images of a protocol.

    Attributes:
        facts: A row for each usable image: file_name and, if they were opened, the columns of a scan.
        unusable: file_name, reason, detail of the others.
    """

    facts: pd.DataFrame
    unusable: pd.DataFrame

    def joined(self, tables: ProtocolTables) -> ProtocolTables:
        """Return the tables with these facts, without rows and pairs of unusable images."""
        train = None if tables.train is None else self._joined(tables.train)
        return replace(tables, train=train, tests=tuple(self._joined_test(test) for test in tables.tests))

    def remarks(self, tables: ProtocolTables) -> list[str]:
        """Return lines on boxes that are cut at their images' borders."""
        frames = [frame for frame in (tables.train, *(test.frame for test in tables.tests)) if frame is not None]
        cut = sum(clipped(self._with_facts(frame))[1] for frame in frames if "x_1" in frame)
        return [f"boxes that reach out of their images, cut at the border: {cut:,}"] if cut else []

    def _with_facts(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.merge(self.facts, on="file_name", how="inner", validate="many_to_one")

    def _joined(self, frame: pd.DataFrame) -> pd.DataFrame:
        return clipped(self._with_facts(frame))[0]

    def _joined_test(self, test: TestSet) -> TestSet:
        frame, pairs = self._joined(test.frame), test.pairs
        if pairs is not None:
            kind = "template" if "template_1" in pairs else "file_name"
            usable = pd.Series(frame[kind].unique()).astype(pairs[f"{kind}_1"].dtype)  # millions of pairs stay numbers
            first, second = (pairs[f"{kind}_{number}"].isin(usable) for number in (1, 2))
            both = first & second
            pairs = pairs[both].reset_index(drop=True)
        return replace(test, frame=frame, pairs=pairs)


def open_images(
    tables: ProtocolTables, table_path: Path, workers: int | None, progress: Progress, report: Report
) -> ProtocolImages:
    """Open every image once, as a scan does; records beside `table_path` save those that are unchanged next time."""
    records, _ = read_images(
        tables.root,
        _names(tables),
        hash_kind="phash-luma256",
        workers=workers,
        progress=progress,
        table_path=table_path,
        report=report,
    )
    facts = records.table().drop(columns="label")
    return ProtocolImages(facts, _unusable(sorted(records.problems())))


def name_images(tables: ProtocolTables, progress: Progress) -> ProtocolImages:
    """Check that every image is there, without opening it."""
    names = _names(tables)
    missing = []
    with progress("looking for images", len(names)) if names else nullcontext(lambda done: None) as advance:
        for first in range(0, len(names), BLOCK):
            block = names[first : first + BLOCK]
            missing += [name for name in block if not (tables.root / name).is_file()]
            advance(len(block))
    absent = set(missing)
    facts = pd.DataFrame({"file_name": [name for name in names if name not in absent]}, dtype=str)
    return ProtocolImages(facts, _unusable([FileProblem(name, "missing", "there is no such file") for name in missing]))


def _names(tables: ProtocolTables) -> list[str]:
    frames = [frame for frame in (tables.train, *(test.frame for test in tables.tests)) if frame is not None]
    return sorted({name for frame in frames for name in frame["file_name"]})


def _unusable(problems: Sequence[FileProblem]) -> pd.DataFrame:
    return pd.DataFrame(list(problems), columns=FileProblem._fields, dtype=str)
