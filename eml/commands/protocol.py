"""`eml protocol`: an unpacked benchmark to tables with its official split."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import CONFIG_NAME, free_name
from eml.commands.options import Out, Overwrite, note_workers, out_folder
from eml.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.protocol_notes import ProtocolNote
    from eml.dataset.protocols import Protocol, ProtocolTables

_MEMBERS = Path(__file__).parents[1] / "dataset" / "protocols"
NAMES = sorted(path.stem for path in _MEMBERS.glob("[a-z]*.py") if path.stem != "base")
"""The protocols, whose files are not imported for the help."""
ERRORS = "dataset_errors.csv"
FAIR = (
    "No run of eml on this set stands behind these settings. All training classes train, for a length that is fixed "
    "before: nothing is chosen by the test."
)


class ProtocolConfig(CommandConfig):
    """Read a benchmark as it was unpacked, and write tables with its official split and a config to train with.

    Writes dataset_train.csv and dataset_test.csv, with queries and gallery, cameras or a list of pairs where the
    protocol has them; dataset_errors.csv, the files that cannot be used; and config.yaml, the settings of its papers.
    The counts are compared with the published ones. The tables keep the protocol: eml evaluate measures by it.
    Nothing is downloaded.
    """

    protocol: str = Field(description=f"The benchmark: {', '.join(NAMES)}.")
    dataset: Annotated[PathField, Field(description="The folder that it was unpacked into.")]
    boxes: bool = Field(False, description="Crop to the boxes that come with the images: not the usual protocol.")
    read: bool = Field(
        True,
        description="Open every image once: sizes, hashes, unusable files. Without it only the names are checked, "
        "which for hundreds of thousands of images saves an hour.",
    )
    workers: int | None = Field(
        None, ge=1, description="Processes that read images, at most 4 for each core. Default: one per core."
    )
    out: Out = None
    overwrite: Overwrite = False

    @model_validator(mode="after")
    def _boxes_need_sizes(self) -> Self:
        if self.boxes and not self.read:
            raise ValueError("`boxes` are cut at their images' borders, which needs `read`")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ProtocolResult(CommandResult):
    """The tables of a benchmark.

    Attributes:
        note: The protocol, its published counts and those that were found.
        title: The benchmark's name.
        licence: One line on its licence.
        root: The folder of its images.
        unusable: Files that are named and cannot be used.
        remarks: What should be known of the tables, a line each.
    """

    note: ProtocolNote
    title: str
    licence: str
    root: Path
    unusable: int
    remarks: tuple[str, ...]

    def summary(self) -> str:
        """Return the counts."""
        return f"{self.note.type}: " + ", ".join(
            f"{count:,} {name}" for name, count in (self.note.counted or {}).items()
        )

    def summary_table(self) -> SummaryTable:
        """Return each count beside the published one."""
        counts, official = self.note.counted or {}, self.note.official or {}
        names = [*official, *(name for name in counts if name not in official)]
        return ["", "found", "official"], [[name, counts.get(name, 0), official.get(name)] for name in names]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        return {
            **self.note.note(),
            "differences": self.note.differences,
            "root": str(self.root),
            "unusable": self.unusable,
            "written": [str(path) for path in self.written],
        }


@command(ProtocolConfig, arguments=("protocol", "dataset"))
def protocol(config: ProtocolConfig, caller: Caller) -> ProtocolResult:
    """Recognise the benchmark, read its lists and images, and write the tables."""
    from eml.dataset.protocols import Work
    from eml.dataset.scanning.listing import check_folder
    from eml.dataset.table import check_outputs, write_tables

    member = _member(config)
    check_folder(config.dataset)
    note_workers(config.workers, caller)
    folder = out_folder(config.dataset, config.out, caller)
    root = member.find_root(config.dataset)
    work = Work(config.boxes, folder / "images", caller.progress, caller.note)
    tables = member.tables(root, work)
    names = _file_names(tables)
    check_outputs([folder / name for name in names], inputs=tables.inputs, overwrite=config.overwrite)
    tables, unusable, remarks = _with_images(config, tables, folder / names[0], caller)
    note = _note(member, tables)
    frames = [tables.train] if tables.train is not None else []
    for test in tables.tests:
        frames += [test.frame] if test.pairs is None else [test.frame, test.pairs]
    label = next((test.unknown_label for test in tables.tests if test.unknown_label), None)
    replaced = write_tables(
        {folder / name: frame for name, frame in zip(names, [*frames, unusable], strict=True)},
        command=caller.command or "eml protocol",
        root=tables.root,
        inputs=tables.inputs,
        overwrite=config.overwrite,
        notes=note.note() | ({"unknown_label": label} if label else {}),
        warn=caller.warn,
    )
    preset, run = _write_preset(config, member, folder, caller) if tables.train is not None else ((), None)
    evaluations = (
        ()
        if run is None
        else tuple(
            shlex.join(["eml", "evaluate", str(run), "--data", str(folder / f"dataset_{test.name}.csv")])
            for test in tables.tests
        )
    )
    return ProtocolResult(
        note=note,
        title=member.title,
        licence=member.licence,
        root=tables.root,
        unusable=len(unusable),
        remarks=(*tables.notes, *remarks),
        written=(*(folder / name for name in names), *preset),
        replaced=tuple(replaced),
        next_command=None if run is None else shlex.join(["eml", "train", str(folder / CONFIG_NAME)]),
        later_commands=evaluations,
    )


def _member(config: ProtocolConfig) -> Protocol:
    """Return the protocol of that name."""
    from eml.config.text import did_you_mean, listed
    from eml.dataset.protocols import Protocol

    members = Protocol.members()
    if config.protocol not in members:
        hint = did_you_mean(config.protocol, members)
        text = f"unknown `protocol` {config.protocol!r}{hint}; known: {listed(sorted(members))}"
        raise ConfigError(text, code="unknown-choice", parameter="protocol")
    member = members[config.protocol].model_validate({})
    if config.boxes and not member.has_boxes:
        known = ", ".join(name for name, choice in sorted(members.items()) if choice.has_boxes)
        text = f"`boxes`: {config.protocol} has none; these have: {known}"
        raise ConfigError(text, code="conflicting-settings", parameter="boxes")
    return member


def _file_names(tables: ProtocolTables) -> list[str]:
    """Return the names of the tables to write, in order: to train on, each test and its pairs, the unusable files."""
    names = ["dataset_train.csv"] if tables.train is not None else []
    for test in tables.tests:
        names += [f"dataset_{test.name}.csv", *([] if test.pairs is None else [f"pairs_{test.name}.csv"])]
    return [*names, ERRORS]


def _note(member: Protocol, tables: ProtocolTables) -> ProtocolNote:
    from eml.dataset.protocol_notes import ProtocolNote

    pairs = {f"dataset_{test.name}.csv": f"pairs_{test.name}.csv" for test in tables.tests if test.pairs is not None}
    counts = tables.counts()
    official = {name: count for name, count in member.published(counts).items() if not _of_absent_set(name, tables)}
    return ProtocolNote(member.type, tuple(member.recall_at), member.leave_out_same, pairs, official, counts)


def _of_absent_set(name: str, tables: ProtocolTables) -> bool:
    """Return whether a count is of one of several test sets that need not all be there."""
    first = name.partition(" ")[0]
    return first not in {"train", "test", "queries", "gallery", *(test.name for test in tables.tests)}


def _with_images(
    config: ProtocolConfig, tables: ProtocolTables, table_path: Path, caller: Caller
) -> tuple[ProtocolTables, pd.DataFrame, list[str]]:
    """Return the tables with what their images say, the files that cannot be used, and remarks."""
    from eml.dataset.protocols._images import name_images, open_images

    if config.read:
        images = open_images(tables, table_path, config.workers, caller.progress, caller.note)
    else:
        images = name_images(tables, caller.progress)
    return images.joined(tables), images.unusable, images.remarks(tables)


def _write_preset(
    config: ProtocolConfig, member: Protocol, folder: Path, caller: Caller
) -> tuple[tuple[Path, ...], Path]:
    """Write config.yaml unless there is one, and return it and the run that it trains."""
    from eml.config import document
    from eml.files import write_text
    from eml.training.config import RunConfig

    path = folder / CONFIG_NAME
    if path.exists() and not config.overwrite:
        caller.note(f"kept: {path}, which was there")
        return (), _run_of(path)
    name = free_name(folder)
    head = [f"{member.title} by its official protocol. Made by {shlex.join(['eml', 'protocol', member.type])}."]
    for text in (" ".join(member.preset_lines), FAIR):
        head += ["", *textwrap.wrap(text, 116)]
    values: Mapping[str, Any] = {
        "output": name,
        "recipe": "none",
        "data": {"table": "dataset_train.csv", "fold": None},
        **member.preset,
    }
    write_text(path, "".join(f"# {line}".rstrip() + "\n" for line in head) + "\n" + document(RunConfig, values))
    return (path,), folder / name


def _run_of(path: Path) -> Path:
    """Return the run folder that a config of the user's names; `run` beside it where that cannot be read."""
    from eml.config.loading import read_document

    try:
        output = read_document(path).value["output"]
        return Path(os.path.normpath(path.parent / output))
    except (ConfigError, DataError, OSError, LookupError, TypeError):
        return path.parent / "run"
