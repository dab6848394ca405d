"""`eml probe`: which network suits the user's classes, before any is trained."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    PathField,
    PathTexts,
    SummaryTable,
    command,
)
from eml.commands.options import (
    BatchSize,
    ClassLevelField,
    Dataset,
    Device,
    FileColumn,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
    Root,
    StripPrefix,
    UnknownLabel,
    Workers,
    column_map_words,
    note_workers,
    read_source,
)
from eml.errors import Interrupted
from eml.images.image_size import ImageSize, Size

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.evaluation.probing.results import Pick, ProbeRow


class ProbeConfig(CommandConfig):
    """Rank networks on the classes of a dataset before any is trained, and pick the one for eml init.

    Each network embeds the images once; the embeddings stay on the disk, so that an interrupted probe goes on and a
    further network is a further row. MAP@R is measured twice: of the embeddings untouched, and with the linear stage
    that training begins with (within-class whitening), learnt on some classes and judged on the others, so that every
    class judges once. A network that cannot be loaded or fetched is a row with the reason.
    """

    dataset: Dataset
    backbones: Annotated[
        PathTexts,
        Field(
            description="Networks, with commas or repeated: a name of timm, NAME=FILE with a weights file, NAME=none "
            "with random weights, a run or a checkpoint. Default: those whose weights are on this machine, and six "
            "usual ones."
        ),
    ] = ()
    image_size: ImageSize | None = Field(
        None,
        description="Side of the images (pixels), or height x width such as 256x128, or the nearest that a network "
        "takes; a run has its own. Default: what eml init chooses.",
    )
    most_images: int = Field(
        10_000, ge=16, description="Of more images whole classes are drawn, since a part of them ranks as well."
    )
    random_seed: int = Field(28, ge=0, description="Draws the classes and the folds of classes.")
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    class_level: ClassLevelField = None
    unknown_label: UnknownLabel = None
    cache: Annotated[
        PathField | None,
        Field(description="Folder of the embeddings. Default: .eml_cache/probe beside the images."),
    ] = None
    out: Annotated[
        PathField | None,
        Field(description="The file of the results, which eml init reads. Default: probe.json in `dataset`."),
    ] = None
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    overwrite: Overwrite = False
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ProbeResult(CommandResult):
    """Networks on a dataset, the best first.

    Attributes:
        rows: The networks; those that could not be measured come last.
        pick: The one to take; None where all weights are random.
        table: The table of the images.
        images: The images that judge.
        classes: Their classes.
        folds: Folds of whole classes for the linear stage; None of too few classes.
        image_size: Side of the images (pixels), or (height, width), where a network takes it.
    """

    rows: tuple[ProbeRow, ...]
    pick: Pick | None
    table: Table
    images: int
    classes: int
    folds: int | None
    image_size: Size

    def summary(self) -> str:
        """Return the pick with its reason."""
        return f"{len(self.rows)} networks; {self.pick.reason if self.pick else 'none to take'}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each network."""
        return _COLUMNS, [_cells(row) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return what probe.json holds."""
        return {
            "table": str(self.table.source),
            "digest": self.table.digest,
            "images": self.images,
            "classes": self.classes,
            "folds": self.folds,
            "image_size": self.image_size,
            "networks": [row.facts() for row in self.rows],
            "pick": _pick_facts(self.pick),
        }


_COLUMNS = ["network", "MAP@R untouched", "linear stage", "to the best", "ms", "numbers", "parameters", "weights"]


def _cells(row: ProbeRow) -> list[Cell]:
    if (measured := row.measured) is None:
        return [row.candidate.name, row.problem, *[None] * (len(_COLUMNS) - 2)]

    def figure(per_query: Any) -> str:
        interval = measured.interval(per_query)
        return f"{measured.mean(per_query):.3f} ({interval.low:.2f}–{interval.high:.2f})"

    change = row.to_best
    return [
        row.candidate.name,
        figure(measured.untouched),
        None if measured.linear is None else figure(measured.linear.per_query),
        "best"
        if change is None
        else f"{change.value:+.3f} ({change.interval.low:+.2f} to {change.interval.high:+.2f})",
        f"{measured.speed.milliseconds:.1f}",
        measured.embedding_size,
        f"{measured.parameters / 1e6:.1f} M",
        ", ".join(filter(None, [row.candidate.kind, row.candidate.licence])),
    ]


def _pick_facts(pick: Pick | None) -> dict[str, Any] | None:
    if pick is None:
        return None
    own = pick.row.candidate
    weights = own.source if own.backbone is None else own.weights
    weights = weights if weights in ("pretrained", "none") else os.path.abspath(weights)  # noqa: PTH100 - follows no links
    return {"name": own.name, "backbone": own.backbone, "weights": weights, "reason": pick.reason}


@command(ProbeConfig, arguments=("dataset",))
def probe(config: ProbeConfig, caller: Caller) -> ProbeResult:
    """Measure the networks, write probe.json and pick one."""
    from eml.evaluation.probing.candidates import candidates_of
    from eml.evaluation.probing.class_folds import class_folds, rows_to_probe
    from eml.evaluation.probing.probe import ProbeSettings, check_any
    from eml.evaluation.probing.probe import probe as measure
    from eml.evaluation.probing.record import NAME, refuse_record, write_record
    from eml.evaluation.probing.results import pick
    from eml.inference.embed import Batching
    from eml.training.recipe import usual_image_size

    folder = config.dataset if config.dataset.is_dir() else config.dataset.parent
    target = config.out or folder / NAME
    refuse_record(target, overwrite=config.overwrite)
    candidates = candidates_of(config.backbones)
    note_workers(config.workers, caller)
    table = read_source(config, "init", None, caller)
    frame = rows_to_probe(table, config.most_images, config.random_seed)
    folds = class_folds(table, frame, config.random_seed)
    size = config.image_size or usual_image_size(frame)
    settings = ProbeSettings(
        size,
        config.cache or table.root / ".eml_cache" / "probe",
        config.device,
        Batching(config.batch_size, config.workers),
        caller.progress,
        caller.note,
    )
    try:
        rows = measure(candidates, table, frame, folds, settings)
    except KeyboardInterrupt as error:
        text = "interrupted. The embeddings so far are kept: the same command goes on from there"
        raise Interrupted(text) from error
    check_any(rows)
    replaced = (target,) if target.exists() else ()
    result = ProbeResult(
        rows=tuple(rows),
        pick=pick(rows),
        table=table,
        images=len(frame),
        classes=frame["label"].nunique(),
        folds=None if folds is None else len(set(folds.tolist())),
        image_size=size,
        written=(target,),
        replaced=replaced,
    )
    write_record(target, result.to_dict())
    return replace(result, next_command=_next_command(config, result.pick, folder))


def _next_command(config: ProbeConfig, pick: Pick | None, folder: Path) -> str | None:
    """Return the `eml init` that takes the network."""
    if pick is None:
        return None
    own = pick.row.candidate
    words = [] if own.backbone is None else ["--backbone", own.backbone]
    if own.kind != "hub":
        words += ["--weights", own.source if own.backbone is None else own.weights]
    words += ["--root", str(config.root)] if config.root else []
    words += ["--unknown-label", config.unknown_label] if config.unknown_label is not None else []
    config_file = folder / "config.yaml"
    words += ["--overwrite"] if config_file.exists() else []
    return shlex.join(["eml", "init", str(config.dataset), *words, *column_map_words(config)])
