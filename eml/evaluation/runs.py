"""Models on tables: each evaluated and written into a folder of its own, and several compared with the best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.table import Table, read_table
from eml.distributed.processes import Processes
from eml.errors import ConfigError, OutputError
from eml.evaluation.analysis import NOTHING, EvaluationAnalysis, Wanted, analyze
from eml.evaluation.evaluate import Evaluation, evaluation_of, evaluation_of_embeddings
from eml.evaluation.leaderboard import Leaderboard, build_leaderboard
from eml.evaluation.outputs import (
    EMBEDDINGS,
    METRICS,
    PAGE,
    _refuse_embeddings,
    check_results,
    evaluations_folder,
    folder_names,
)
from eml.evaluation.retrieval_set import retrieval_set
from eml.evaluation.slices import Partition, check_columns, partition
from eml.files import refuse_file_name, unwritable, write_json
from eml.inference.embeddings_file import is_embeddings_file, read_embeddings, write_embeddings
from eml.inference.models import TIMM, check_timm, load_for_evaluation
from eml.progress import Progress, Report

"""Suffixes that are not part of a folder's name."""


@dataclass(frozen=True)
class Asked:
    """Which models, on which images, and what is to be found and kept.

    checkpoints, against: a run, a checkpoint, timm:NAME or an embeddings file. data: tables or folders; embeddings with
    labels need none. root: that the tables' file names start from. weights, image_size: of timm:NAME. out: None for
    the run's own folder.
    """

    checkpoints: Sequence[str]
    data: Sequence[Path] = ()
    root: Path | None = None
    against: str | None = None
    wanted: Wanted = NOTHING
    weights: str = "pretrained"
    image_size: int | None = None
    leave_out_same: str | None = None
    within: str | None = None
    out: Path | None = None
    save_embeddings: bool = False
    batch_size: int = 64
    workers: int = 0
    device: str = "auto"

    @property
    def everyone(self) -> list[str]:
        """All models."""
        return [*self.checkpoints, *([self.against] if self.against else [])]

    def folders(self) -> list[Path]:
        """Where the results of each model go. Raises ConfigError for what does not go together."""
        if not self.data and not all(is_embeddings_file(each) for each in self.everyone):
            raise ConfigError("say on which images: --data TABLE, or a folder of them")
        if self.wanted.pairs and self.wanted.verification:
            raise ConfigError("--verification is by all pairs, --pairs by those of a file; give one of them")
        for each in self.everyone:
            check_timm(each)
        of_timm = self.weights != "pretrained" or self.image_size is not None
        if of_timm and not any(each.startswith(TIMM) for each in self.everyone):
            raise ConfigError(
                f"--weights and --image-size are for {TIMM}NAME, and none is given; a checkpoint has its own"
            )
        if self.weights not in ("pretrained", "none") and not Path(self.weights).exists():
            raise ConfigError(
                f"--weights {self.weights}: there is no such file; allowed: pretrained, none, or a weights file"
            )
        if self.out is not None:
            refuse_file_name(self.out, "a folder for the results")
        if self.out is None or len(self.checkpoints) == 1:
            return [evaluations_folder(checkpoint, self.out) for checkpoint in self.checkpoints]
        return [self.out / name for name in folder_names([Path(each.replace(":", "-")) for each in self.checkpoints])]


class Page(Protocol):
    """What draws a report; see eml.reports.evaluation."""

    def refuse(self, path: Path) -> None:
        """Raises OutputError for a file that is not to be replaced."""

    def write(self, found: EvaluationAnalysis, facts: dict[str, Any], path: Path) -> None:
        """facts: as in metrics.json."""


@dataclass(frozen=True)
class Result:
    """Of one model on one table. facts: what metrics.json says. files: that were written; replaced: over older ones."""

    table: str
    found: EvaluationAnalysis
    facts: dict[str, Any]
    files: list[Path]
    replaced: list[Path]


@dataclass(frozen=True)
class Results:
    """of: in the order of the models, and of the tables for each. standings: by table, {} of one model."""

    tables: list[str]
    of: list[Result]
    leaderboards: dict[str, Leaderboard]


def evaluate_all(
    asked: Asked,
    processes: Processes,
    page: Page | None = None,
    *,
    report: Report = lambda line: None,
    progress: Progress,
) -> Results:
    """Every model on every table; metrics.json, and where wanted the page and the embeddings, are written for each.

    All processes take part; the first one writes, and in the others the results are empty.
    Raises before the work for files that are not eml's and would be replaced, and for unknown columns.
    """
    folders = asked.folders()
    tables = processes.after_first(lambda: [_table(asked, each, report, progress) for each in asked.data])
    names = folder_names([table.path or table.root for table in tables]) or ["embeddings"]
    _check(asked, tables, [folder / name for folder in folders for name in names], page)
    work = _Work(asked, tables, names, processes, progress)
    others = [*work.evaluations(asked.against)] if asked.against else [None] * len(names)
    done: list[Result] = []
    parts: dict[str, Partition] = {}  # by the table's name; the same for every model
    for checkpoint, folder in zip(asked.checkpoints, folders, strict=True):
        evaluations = list(work.evaluations(checkpoint))
        if not processes.first:
            continue
        for name, evaluation, other in zip(names, evaluations, others, strict=True):
            if tables and name not in parts:
                parts[name] = partition(evaluation.table, evaluation.wanted, asked.wanted.columns, progress=progress)
            found = analyze(evaluation, asked.wanted, against=other, parts=parts.get(name), progress=progress)
            done.append(_written(name, found, folder / name, asked, page))
    if not done or len(asked.checkpoints) == 1:
        return Results(names, done, {})
    leaderboards = {name: build_leaderboard([each.found for each in done if each.table == name]) for name in names}
    return Results(names, [_with_standing(each, leaderboards[each.table]) for each in done], leaderboards)


def _table(asked: Asked, source: Path, report: Report, progress: Progress) -> Table:
    """Images are not needed where all embeddings are at hand; the report shows those that are there."""
    if source.is_file() and all(is_embeddings_file(each) for each in asked.everyone):
        return read_table(source, asked.root)
    return table_to_evaluate(source, asked.root, report, progress)


@dataclass(frozen=True)
class _Work:
    """What evaluates a model on each table."""

    asked: Asked
    tables: list[Table]
    names: list[str]
    processes: Processes
    progress: Progress

    def evaluations(self, checkpoint: str) -> Iterator[Evaluation]:
        """On each table; of an embeddings file in the first process alone."""
        asked = self.asked
        columns: dict[str, Any] = {"leave_out_same": asked.leave_out_same, "within": asked.within}
        if is_embeddings_file(checkpoint):
            tables: Sequence[Table | None] = self.tables or [None]
            for each in tables if self.processes.first else ():
                table, embeddings = read_embeddings(Path(checkpoint), each)
                yield evaluation_of_embeddings(checkpoint, embeddings, table, **columns)
            return
        device = str(self.processes.device(asked.device))
        model = load_for_evaluation(checkpoint, weights=asked.weights, image_size=asked.image_size, device=device)
        for name, table in zip(self.names, self.tables, strict=True):
            wanted = retrieval_set(table.frame, table.name, **columns)
            with self.progress(f"embedding {name}", len(wanted.frame)) as advance:
                yield evaluation_of(
                    checkpoint,
                    model,
                    table,
                    wanted,
                    batch_size=asked.batch_size,
                    workers=asked.workers,
                    progress=advance,
                    processes=self.processes,
                )


def _check(asked: Asked, tables: Sequence[Table], folders: Sequence[Path], page: Page | None) -> None:
    if problems := [told for folder in folders if (told := unwritable(folder))]:
        raise OutputError([f"{told}. Give another --out" for told in problems])
    check_results([folder / METRICS for folder in folders])
    if asked.save_embeddings:
        _refuse_embeddings([folder / EMBEDDINGS for folder in folders])
    if page:
        for folder in folders:
            page.refuse(folder / PAGE)
    for table in tables:
        check_columns(table, asked.wanted.columns)


def _written(table: str, found: EvaluationAnalysis, folder: Path, asked: Asked, page: Page | None) -> Result:
    evaluation, names, facts = found.evaluation, [METRICS], {"name": table, **found.facts()}
    names += [EMBEDDINGS] if asked.save_embeddings else []
    names += [PAGE] if page else []
    files = [folder / name for name in names]
    replaced = [file for file in files if file.exists()]
    write_json(folder / METRICS, facts)
    if asked.save_embeddings:
        write_embeddings(folder / EMBEDDINGS, evaluation.embeddings, evaluation.wanted.frame)
    if page:
        page.write(found, facts, folder / PAGE)
    return Result(table, found, facts, files, replaced)


def _with_standing(result: Result, leaderboards: Leaderboard) -> Result:
    """metrics.json is written again, now that all models are known."""
    facts = result.facts | {"standing": leaderboards.facts(result.found)}
    write_json(result.files[0], facts)
    return replace(result, facts=facts)
