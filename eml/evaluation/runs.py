"""Models on tables: evaluate each, write its results, and compare several with the best."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from eml.dataset.pipeline import read_current_table, table_to_evaluate
from eml.dataset.table import Table
from eml.dataset.unknown_label import with_unknown_label
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.evaluation.analysis import EvaluationAnalysis, analyze
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.cross_model import on_gallery_of, refuse_other_sizes
from eml.evaluation.drawn_queries import draw_queries
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings, evaluate_model
from eml.evaluation.leaderboard import Leaderboard, build_leaderboard
from eml.evaluation.official_protocol import options_by_table
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.outputs import (
    EMBEDDINGS,
    METRICS,
    PAGE,
    across_models,
    check_outputs,
    folder_names,
    result_folders,
    stale_outputs,
)
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.evaluation.slices import Partition, check_columns, partition
from eml.evaluation.texts.prepared import prepare_texts, refuse_without_tower, texts_of_file
from eml.evaluation.trained_overlap import OverlapCounter
from eml.evaluation.whitening import Whitening, count_shared, learn_whitening, read_fit_table, whitening_of_file
from eml.files import write_json
from eml.images.loading_team import kept_workers
from eml.inference.any_model import AnyModel, fetched_model, load
from eml.inference.embed import Batching, Stored
from eml.inference.embeddings_file import is_embeddings_file, read_embeddings, write_embeddings
from eml.inference.load import is_backbone
from eml.models.calibration import weights_digest
from eml.progress import Progress, Report, no_progress
from eml.storage import is_url

NO_TABLE = "embeddings"  # the name of the images of an embeddings file with labels


@dataclass(frozen=True)
class EvaluationResult:
    """One model on one table.

    Attributes:
        table: The name of the table.
        analysis: What was measured. Its embeddings are released once the result is written.
        folder: Where the files are.
        files: The files written.
        replaced: Those of them that existed before.
        removed: Files of an earlier evaluation in the folder that are not of this one.
        leaderboard: The comparison with the other models on the table, if there are several.
    """

    table: str
    analysis: EvaluationAnalysis
    folder: Path
    files: list[Path]
    replaced: list[Path]
    removed: list[Path] = field(default_factory=list)
    leaderboard: Leaderboard | None = None

    @property
    def model(self) -> str:
        """The model, as it was named by the user."""
        return self.analysis.evaluation.name

    @property
    def metrics(self) -> dict[str, float]:
        """Metric → its value."""
        return self.analysis.evaluation.summary.values

    @property
    def page(self) -> Path:
        """The path of report.html."""
        return self.folder / PAGE

    def __repr__(self) -> str:
        return f"<EvaluationResult {self.summary()}>"

    def summary(self, *metrics: str) -> str:
        """Return these metrics in a line; all, where none is named."""
        shown = self.analysis.evaluation.summary.shown.items()
        values = [f"{text} {self.metrics[name]:.3f}" for name, text in shown if name in metrics or not metrics]
        return f"{self.model} on {self.table}: {', '.join(values)}"

    def facts(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        facts = {"name": self.table, **self.analysis.facts()}
        return facts | {"standing": self.leaderboard.facts(self.analysis)} if self.leaderboard else facts


@dataclass(frozen=True)
class EvaluationResults:
    """All models on all tables.

    Attributes:
        tables: The names of the tables.
        results: In the order of the models, and for each in the order of the tables.
        leaderboards: Table → comparison of the models; empty for a single model.
    """

    tables: list[str]
    results: list[EvaluationResult]
    leaderboards: dict[str, Leaderboard]

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.results)) or "<EvaluationResults of another process>"

    def facts(self) -> list[dict[str, Any]]:
        """Return the content of each metrics.json."""
        return [result.facts() for result in self.results]


@kept_workers()
def evaluate_models(
    options: EvaluationOptions,
    processes: Processes = SINGLE_PROCESS,
    *,
    write_page: Callable[[EvaluationResult], None] | None = None,
    stored: Stored | None = None,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> EvaluationResults:
    """Evaluate every model on every table and write metrics.json, and what else is asked for, for each.

    Embeddings are in memory for one model on one table at a time: they are released after its files are written. Only
    those of a model of the gallery stay until the end.

    Args:
        options: Models, tables and what to compute.
        processes: They share the images and all call this. The first one writes; in the others the results are empty.
        write_page: Writes the report of a result at `result.page`. It is called while the result has its embeddings.
        stored: Embeddings that were computed before.
        report: Receives the lines about tables that are read or written.
        progress: Reports the images that are embedded or read.

    Raises:
        ConfigError: The options do not fit together.
        OutputError: A file that eml did not write would be replaced, or nothing can be written. Both are checked
            before the work.
        DataError: A table lacks a column, or an image cannot be read.
        CheckpointError: A checkpoint cannot be read.
    """
    options.check()
    folders = result_folders(options)
    tables, own = read_tables(options, processes, report, progress)
    fit, adapt_on = (
        _read_to_learn_from(source if options.needs_images else None, options, processes, report, progress)
        for source in (options.whiten, options.adapt_on)
    )
    names = names_of(tables)
    places = {name: f"{name}{across_models(options)}" for name in names}
    written = [folder / place for folder in folders for place in places.values()]
    check_outputs(written, embeddings=options.save_embeddings, page=write_page is not None)
    for table in tables:
        check_columns(table, options.slices)
    refuse_without_tower(options.checkpoints, options)
    if options.gallery_model:
        refuse_other_sizes(options.checkpoints, options.gallery_model)

    counter = OverlapCounter(report=report)
    of_images = [of_table.of_images_alone() for of_table in own]
    evaluate = partial(
        _evaluate_on_tables,
        tables=tables,
        names=names,
        counter=counter,
        batching=Batching(options.batch_size, options.workers, processes, stored),
        progress=progress,
    )
    against, gallery = dict[str, Evaluation](), dict[str, Evaluation]()
    for name, evaluation in evaluate(options.against, of_images) if options.against else ():
        if evaluation is not None:
            against[name] = evaluation.without_embeddings()
        del evaluation  # else its embeddings would stay while the next ones are computed
    for name, evaluation in evaluate(options.gallery_model, of_images) if options.gallery_model else ():
        if evaluation is not None:
            gallery[name] = evaluation
    results: list[EvaluationResult] = []
    divisions: dict[str, Partition] = {}  # by table, shared by the models

    def finish(name: str, folder: Path, evaluation: Evaluation | None) -> None:
        assert evaluation is not None, "only other processes than the first have none"
        if options.gallery_model:
            evaluation = on_gallery_of(evaluation, gallery[name], own[names.index(name)].recall_at)
        if tables and name not in divisions:
            divisions[name] = partition(evaluation.table, evaluation.retrieval, options.slices, progress=progress)
        division = divisions.get(name)
        analysis = analyze(
            evaluation, own[names.index(name)], against=against.get(name), division=division, progress=progress
        )
        results.append(_write(EvaluationResult(name, analysis, folder / places[name], [], []), options, write_page))

    for checkpoint, folder in zip(options.checkpoints, folders, strict=True):
        for name, evaluation in evaluate(checkpoint, own, fit=fit, adapt_on=adapt_on):
            processes.from_first(partial(finish, name, folder, evaluation))  # the others wait, however long it takes
            del evaluation
    return _compare_models(names, results, several=len(options.checkpoints) > 1)


def read_tables(
    options: EvaluationOptions, processes: Processes, report: Report, progress: Progress
) -> tuple[list[Table], list[EvaluationOptions]]:
    """Return the tables, and the options of each, which differ in what its protocol says; the options where none is."""
    tables = processes.after_first(lambda: [_read_table(options, path, report, progress) for path in options.data])
    if options.unknown_label is None:
        tables = [with_checkpoint_label(table, options.models, report) for table in tables]
    return tables, [*(options_by_table(options, tables, report) or [options])]


def names_of(tables: Sequence[Table]) -> list[str]:
    """Return the name of each table, that of its results' folder."""
    return folder_names([table.path or table.root for table in tables]) or [NO_TABLE]


def set_to_embed(table: Table, options: EvaluationOptions) -> RetrievalSet:
    """Return the queries and the gallery of a table that its options ask for.

    Raises:
        DataError: A column is missing, or no query has a positive.
    """
    retrieval = build_retrieval_set(table.frame, table.name, unknown_label=table.unknown_label, **_columns(options))
    refuse_without_positives(retrieval, table.name, **_columns(options))
    return draw_queries(retrieval, options.queries)


def _read_table(options: EvaluationOptions, path: Path, report: Report, progress: Progress) -> Table:
    """Read a table. Its images need not exist if all models are embeddings files; a report shows those that do."""
    columns = options.columns_of(path)
    if path.is_file() and not options.needs_images:
        return read_current_table(
            path, options.root, columns=columns, unknown_label=options.unknown_label, check_files=False, report=report
        )
    return table_to_evaluate(path, options.root, report, progress, columns=columns, unknown_label=options.unknown_label)


def _read_to_learn_from(
    source: Path | None, options: EvaluationOptions, processes: Processes, report: Report, progress: Progress
) -> Table | None:
    """Return the images to learn from; None where none are needed."""
    if source is None:
        return None
    read = partial(read_fit_table, source, report, progress, root=options.root, columns=options.columns)
    return processes.after_first(read)


def _evaluate_on_tables(
    checkpoint: str,
    own: Sequence[EvaluationOptions],
    tables: Sequence[Table],
    names: Sequence[str],
    counter: OverlapCounter,
    *,
    fit: Table | None = None,
    adapt_on: Table | None = None,
    batching: Batching,
    progress: Progress,
) -> Iterator[tuple[str, Evaluation | None]]:
    """Yield the name of each table, and a model's evaluation on it. Only the first process reads embeddings files.

    Args:
        checkpoint: The model.
        own: The options of each table; they differ in what its protocol says.
        tables: The tables; none for an embeddings file with labels.
        names: Of the tables.
        counter: Counts the images that the model was trained on.
        fit: The images to learn a whitening from.
        adapt_on: The labelled images for a cache.
        batching: Batch size, workers, the processes that share the images, and embeddings that are there.
        progress: Reports the images.
    """
    options, processes = own[0], batching.processes
    if is_embeddings_file(checkpoint):
        images: Sequence[Table | None] = tables or [None]
        for name, table, of_table in zip(names, images, own, strict=True):
            yield name, _evaluate_file(checkpoint, table, of_table) if processes.first else None
        return
    retrievals = [
        build_retrieval_set(table.frame, table.name, unknown_label=table.unknown_label, **_columns(of_table))
        for table, of_table in zip(tables, own, strict=True)
    ]
    for table, retrieval, of_table in zip(tables, retrievals, own, strict=True):
        refuse_without_positives(retrieval, table.name, **_columns(of_table))
    prepared = [
        processes.after_first(partial(prepare_texts, retrieval, table, of_table, adapt_on))
        for table, retrieval, of_table in zip(tables, retrievals, own, strict=True)
    ]
    retrievals = [draw_queries(retrieval, options.queries) for retrieval in retrievals]
    model = load_for_evaluation(checkpoint, options, str(processes.device(options.device)))
    for note in model.notes if processes.first else ():
        counter.report(note)
    if any(texts is not None and texts.texts.needs_tower for texts in prepared):
        model.embed_text([])  # which says why it cannot, before any image is embedded
    weights = None if model.folder is None else weights_digest(model.folder)
    whitening = None if fit is None else learn_whitening(model, fit, batching, progress)
    for name, table, retrieval, texts in zip(names, tables, retrievals, prepared, strict=True):
        with progress(f"embedding {name}", len(retrieval.frame)) as advance:
            evaluation = evaluate_model(
                model, table, retrieval, batching=batching, progress=advance, recall_at=options.recall_at
            )
        overlap = processes.from_first(partial(counter.count, model.trained_on, table, retrieval.frame))
        embedded = None if texts is None else texts.embed(model, batching, progress)
        evaluation = replace(evaluation, whitening=_shared_with(whitening, fit, table), texts=embedded)
        if is_url(checkpoint):  # in place of the copy's folder
            evaluation = replace(evaluation, name=checkpoint)
        yield name, replace(evaluation, trained_on=overlap, weights_digest=weights, fingerprint=model.fingerprint)
        del evaluation


def _shared_with(whitening: Whitening | None, fit: Table | None, table: Table) -> Whitening | None:
    """Return the whitening with the number of images of the measured table that it was learnt from."""
    if whitening is None or fit is None:
        return None
    return replace(whitening, shared=count_shared(fit, table))


def _columns(options: EvaluationOptions) -> dict[str, str | None]:
    return {"leave_out_same": options.leave_out_same, "within": options.within}


def _evaluate_file(name: str, table: Table | None, options: EvaluationOptions) -> Evaluation:
    images, embeddings = read_embeddings(fetched_model(name) if is_url(name) else Path(name), table)
    if table is None:
        images = with_unknown_label(images, options.unknown_label)
    whitening = None if options.whiten is None else whitening_of_file(options.whiten, images)
    evaluation = evaluate_embeddings(
        name, embeddings, images, queries=options.queries, recall_at=options.recall_at, **_columns(options)
    )
    texts = texts_of_file(evaluation.retrieval, images, options, evaluation.size)
    return replace(evaluation, whitening=whitening, texts=texts)


def load_for_evaluation(checkpoint: str, options: EvaluationOptions, device: str) -> AnyModel:
    """Return a model as the options say."""
    own: dict[str, Any] = {"weights": options.weights} if is_backbone(checkpoint) else {}
    own |= {"image_size": options.image_size, "precision": options.precision, "tta": options.tta}
    return load(checkpoint, device=device, **own)


def _write(
    result: EvaluationResult, options: EvaluationOptions, write_page: Callable[[EvaluationResult], None] | None
) -> EvaluationResult:
    """Write the files of a result and return it with their paths and without its embeddings."""
    names = [METRICS, *([EMBEDDINGS] if options.save_embeddings else []), *([PAGE] if write_page else [])]
    files = [result.folder / name for name in names]
    replaced = [file for file in files if file.exists()]
    evaluation = result.analysis.evaluation
    inputs = {Path(name).resolve() for name in options.models}
    stale = [path for path in stale_outputs(result.folder, result.facts()) if path.resolve() not in inputs]
    for path in stale:  # before metrics.json, which they would contradict
        path.unlink()
    write_json(result.folder / METRICS, result.facts())
    if options.save_embeddings:
        write_embeddings(result.folder / EMBEDDINGS, evaluation.embeddings, evaluation.retrieval.frame)
    if write_page:
        write_page(result)
    removed = [path for path in stale if path not in files]
    return replace(
        result, files=files, replaced=replaced, removed=removed, analysis=result.analysis.without_embeddings()
    )


def _compare_models(names: list[str], results: list[EvaluationResult], *, several: bool) -> EvaluationResults:
    """Return the results; those of several models with the leaderboards, which are added to each metrics.json."""
    if not results or not several:
        return EvaluationResults(names, results, {})
    leaderboards = {
        name: build_leaderboard([result.analysis for result in results if result.table == name]) for name in names
    }
    results = [replace(result, leaderboard=leaderboards[result.table]) for result in results]
    for result in results:
        write_json(result.folder / METRICS, result.facts())
    return EvaluationResults(names, results, leaderboards)
