"""`eml audit`: what train and test, or the folds of a table, have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, Names, PathField, SummaryTable, command
from eml.commands.options import (
    FileColumn,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    StripPrefix,
    UnknownLabel,
    column_map,
)

if TYPE_CHECKING:
    from eml.dataset.splits.leak_audit import LeakAudit


class AuditConfig(CommandConfig):
    """Look for what train and test, or the folds of a table, have in common and should not.

    Images that look alike, files that are the same, values of `group_by`, and between two tables also classes; classes
    in several folds are only listed. Nothing is written but the table of `out`.
    """

    train: Annotated[
        PathField, Field(description="A table, or a folder (the table furthest along the pipeline is taken).")
    ]
    test: Annotated[PathField | None, Field(description="Another; without it the folds of the first are compared.")] = (
        None
    )
    group_by: Annotated[
        Names,
        Field(
            description="A column whose values should be on one side, such as camera, track or designer. Repeatable."
        ),
    ] = ()
    threshold: int | None = Field(
        None,
        ge=0,
        le=63,
        description="Bits of 64 by which the hashes of images that look alike may differ. Default: as kfold and split "
        "used, else 6.",
    )
    same_classes: bool = Field(False, description="Classes are meant to be on both sides, and are no finding.")
    unknown_label: UnknownLabel = None
    root: Annotated[
        PathField | None, Field(description="The folder that the file names of `train` are relative to.")
    ] = None
    test_root: Annotated[PathField | None, Field(description="The same for `test`.")] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    out: Annotated[PathField | None, Field(description="Table (.csv, .parquet) for the pairs that look alike.")] = None
    overwrite: Overwrite = False
    strict: bool = Field(False, description="Exit with 1 when the sides have anything in common.")

    @model_validator(mode="after")
    def _options_of_two_tables(self) -> Self:
        names = [name for name in ("same_classes", "test_root") if getattr(self, name)]
        if self.test is None and names:
            raise ValueError(f"{' and '.join(f'`{name}`' for name in names)}: only with two tables")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class AuditResult(CommandResult):
    """The pairs, values and classes that several sides have in common.

    Attributes:
        tables: The tables that were compared.
        threshold: Bits within which images look alike.
        audit: The pairs, values and classes on several sides.
        classes_meant: Whether classes on both sides are no finding.
        clean: Whether the sides have nothing in common.
    """

    tables: tuple[Path, ...]
    threshold: int
    audit: LeakAudit
    classes_meant: bool
    clean: bool

    def summary(self) -> str:
        """Return whether the sides are clean, and the number of pairs."""
        return f"{'clean' if self.clean else 'not clean'}, {self.audit.num_pairs:,} pairs look alike"

    def summary_table(self) -> SummaryTable:
        """Return the images of each side, and how many have a look-alike elsewhere."""
        rows: list[list[Cell]] = [
            [name, images, self.audit.images_with_pair[name]] for name, images in self.audit.images.items()
        ]
        return ["side", "images", "with a look-alike on another side"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, the shared values and classes, and the files."""
        audit = self.audit
        return {
            "tables": [str(path) for path in self.tables],
            "threshold": self.threshold,
            "images": audit.images,
            "pairs": audit.num_pairs,
            "pairs_of_same_content": audit.pairs_of_same_content,
            "images_with_pair": audit.images_with_pair,
            "shared_values": audit.shared_values,
            "shared_classes": audit.shared_classes,
            "clean": self.clean,
            "written": [str(path) for path in self.written],
        }


@command(AuditConfig, arguments=("train", "test"))
def audit(config: AuditConfig, caller: Caller) -> AuditResult:
    """Compare the sides and write the pairs where `out` says so."""
    from eml.dataset.pipeline import resolve
    from eml.dataset.splits.leak_audit import audit_folds, audit_tables
    from eml.dataset.table import SUFFIXES, check_outputs, write_tables
    from eml.errors import DataError, OutputError

    if config.out is not None and config.out.suffix not in SUFFIXES:
        raise OutputError(
            f"`out` must end in {' or '.join(SUFFIXES)}, got {config.out}",
            code="wrong-suffix",
            parameter="out",
        )
    options: dict[str, Any] = {
        "unknown_label": config.unknown_label,
        "report": caller.note,
        "progress": caller.progress,
    }
    columns, tables = column_map(config), []
    for source, root in ((config.train, config.root), (config.test, config.test_root)):
        if source is not None:
            own = columns if config.test is None else columns.of_several(source)
            tables.append(resolve(source, "audit", root, columns=own, **options))
    inputs = [table.source for table in tables]
    if config.out is not None:
        check_outputs([config.out], inputs=inputs, overwrite=config.overwrite)
    bits = _threshold(inputs, caller) if config.threshold is None else config.threshold
    with caller.progress("comparing", sum(len(table.frame) for table in tables)) as advance:
        options = {"group_by": config.group_by, "threshold": bits, "progress": advance}
        findings = audit_folds(tables[0], **options) if config.test is None else audit_tables(*tables, **options)
    if config.strict and findings.warnings:
        lines = [f"`strict`: cannot tell: {line}" for line in findings.warnings]
        raise DataError(lines, code="not-comparable", parameter="strict")
    replaced: Sequence[Path] = []
    if config.out is not None:
        replaced = write_tables(
            {config.out: findings.pairs},
            command=caller.command or "eml audit",
            root=tables[0].root,
            inputs={path: read for table in tables for path, read in table.inputs.items()},
            overwrite=config.overwrite,
            warn=caller.warn,
        )
    meant = config.test is None or config.same_classes
    return AuditResult(
        tables=tuple(inputs),
        threshold=bits,
        audit=findings,
        classes_meant=meant,
        clean=findings.clean and (meant or not findings.shared_classes),
        written=(config.out,) if config.out else (),
        replaced=tuple(replaced),
    )


def _threshold(inputs: Sequence[Path], caller: Caller) -> int:
    """Return the threshold that the tables were folded or split by, as their sidecars say; else the usual one."""
    from eml.dataset.sidecar import read_sidecar
    from eml.dataset.splits.groups import THRESHOLD

    sidecars = [sidecar for path in inputs if (sidecar := read_sidecar(path))]
    bits = min([sidecar.notes["threshold"] for sidecar in sidecars if "threshold" in sidecar.notes], default=THRESHOLD)
    if bits != THRESHOLD:
        caller.note(
            f"comparing within {bits} bits, as in the command that made the table; set `threshold` to change it"
        )
    return int(bits)
