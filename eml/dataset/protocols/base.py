"""The base class of official protocols: how a download is recognised, and what its tables are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from eml.config import Choice
from eml.errors import DataError
from eml.progress import Progress, Report, no_progress

SHOWN = 12  # entries of a folder that an error names


@dataclass(frozen=True)
class TestSet:
    """The images to measure on, and the pairs of a verification.

    Attributes:
        name: `test`, or that of one of several sets.
        frame: Columns label, file_name and what else the protocol says: is_query, is_gallery, camera, category, box.
        pairs: Columns file_name_1, file_name_2, same and perhaps fold; or template_1, template_2, same, of the column
            template; None without a verification.
        unknown_label: The label of distractors, which are in the gallery and nobody's positive.
    """

    __test__: ClassVar[bool] = False  # pytest would take it for a test

    name: str
    frame: pd.DataFrame
    pairs: pd.DataFrame | None = None
    unknown_label: str | None = None


@dataclass(frozen=True)
class ProtocolTables:
    """The tables that a download gives.

    Attributes:
        root: The folder that file names are relative to.
        train: Columns label, file_name and others; None for a protocol that only measures.
        tests: The sets to measure on.
        inputs: The lists that were read.
        notes: What a user should know, a line each.
    """

    root: Path
    train: pd.DataFrame | None
    tests: tuple[TestSet, ...]
    inputs: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the numbers of images, classes, queries and pairs, by the names that protocols publish them under."""
        counts: dict[str, int] = {}
        if self.train is not None:
            counts |= {"train classes": self.train["label"].nunique(), "train images": len(self.train)}
        for test in self.tests:
            frame = test.frame
            known = frame[frame["label"] != test.unknown_label] if test.unknown_label is not None else frame
            counts |= {f"{test.name} classes": known["label"].nunique(), f"{test.name} images": len(frame)}
            if "template" in frame:
                counts |= {f"{test.name} templates": frame["template"].nunique()}
            if "is_query" in frame:
                counts |= {"queries": int(frame["is_query"].sum()), "gallery": int(frame["is_gallery"].sum())}
            if test.pairs is not None:
                same = int(test.pairs["same"].sum())
                counts |= {f"{test.name} same pairs": same, f"{test.name} different pairs": len(test.pairs) - same}
            if test.pairs is not None and "fold" in test.pairs:
                counts |= {f"{test.name} folds": test.pairs["fold"].nunique()}
        return {name: int(count) for name, count in counts.items()}


@dataclass(frozen=True)
class Work:
    """The means of a protocol while it reads.

    Attributes:
        boxes: Whether rows get the boxes that the data set gives.
        images: The folder to write images into that lie packed in an archive of the download.
        progress: Shows the progress.
        report: Receives a line.
    """

    boxes: bool = False
    images: Path = field(default_factory=Path)
    progress: Progress = no_progress
    report: Report = lambda line: None


class Protocol(Choice):
    """An official protocol: its files, split, counts, metrics and the settings of its papers."""

    type: str
    title: ClassVar[str]
    """The data set's own name."""
    paper: ClassVar[str]
    licence: ClassVar[str]
    """One line, from the data set's own page or files."""
    layout: ClassVar[tuple[tuple[str, ...], ...]]
    """The files and folders that a download must have, each with its alternatives; a folder ends in `/`."""
    official: ClassVar[Mapping[str, int]]
    """Name of a count → what is published."""
    recall_at: ClassVar[tuple[int, ...]] = ()
    """The Ks of R@K that its papers give; none for a verification."""
    leave_out_same: ClassVar[str | None] = None
    """The column whose equal values are left out of a query's gallery."""
    has_boxes: ClassVar[bool] = False
    preset: ClassVar[Mapping[str, Any]] = {}
    """Keys of a training config; none for a protocol that only measures."""
    preset_lines: ClassVar[Sequence[str]] = ()
    """The lines say where the preset's settings come from, and how they differ."""

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read the lists of a download. Raises DataError, with file and line, for a list that cannot be understood.

        Args:
            root: The folder that has the layout.
            work: What the protocol may use.
        """
        raise NotImplementedError

    def published(self, counted: Mapping[str, int]) -> Mapping[str, int]:
        """Return the published counts to compare with these; of a set in several versions, those of the likeliest."""
        return self.official

    def find_root(self, folder: Path) -> Path:
        """Return the folder with the layout: the given one, or the only one in it.

        Raises:
            DataError: None has it, or several.
        """
        roots = [root for root in (folder, *_folders_in(folder)) if self.is_root(root)]
        if len(roots) > 1 and roots[0] != folder:
            names = ", ".join(root.name for root in roots)
            text = f"{folder}: {len(roots)} folders in it have the layout of {self.type}: {names}. Give one of them"
            raise DataError(text, code="not-this-layout", parameter="dataset")
        if roots:
            return roots[0]
        raise DataError(self._other_layout(folder), code="not-this-layout", parameter="dataset")

    def is_root(self, root: Path) -> bool:
        """Return whether a folder has the files and folders of the layout."""
        return all(place(root, alternatives) is not None for alternatives in self.layout)

    def _other_layout(self, folder: Path) -> str:
        """Return what was looked for, what was found and what it may be instead."""
        needed = ", ".join(" or ".join(alternatives) for alternatives in self.layout)
        missing = [" or ".join(names) for names in self.layout if place(folder, names) is None]
        names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
        more = f", … ({len(names):,} entries)" if len(names) > SHOWN else ""
        content = ", ".join(names[:SHOWN]) + more if names else "nothing"
        here = f", of which {', '.join(missing)} is not there" if len(missing) < len(self.layout) else ""
        text = f"{folder}: is not the layout of {self.type} ({self.title}). Looked for, in it and in the folders in "
        text += f"it: {needed}{here}. Found in it: {content}."
        alike = [name for name, member in Protocol.members().items() if name != self.type and _fits(member, folder)]
        return text + (f" It has the layout of {' and '.join(alike)}" if alike else " Unpack the archives first")


def place(root: Path, alternatives: Sequence[str]) -> Path | None:
    """Return the first of the files, or of the folders (which end in `/`), that is there; None where none is."""
    for name in alternatives:
        path = root / name
        if path.is_dir() if name.endswith("/") else path.is_file():
            return path
    return None


def _fits(member: type[Protocol], folder: Path) -> bool:
    protocol = member.model_validate({})
    return any(protocol.is_root(root) for root in (folder, *_folders_in(folder)))


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
