"""`eml evaluate`: models on tables of images that they were not trained on."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eml.commands.base import (
    Caller,
    CommandResult,
    Counts,
    Names,
    PathField,
    Paths,
    PathText,
    PathTexts,
    SummaryTable,
    command,
    option,
)
from eml.commands.next_steps import index_command
from eml.commands.options import (
    COLUMN_MAP,
    Address,
    BatchSize,
    Device,
    Executor,
    ExecutorOptions,
    FileColumn,
    Fold,
    ImageSize,
    LabelColumn,
    LeaveOutSame,
    MatchNames,
    NamesFile,
    PathPrefix,
    PathSuffix,
    Plugins,
    Precision,
    ShardNumber,
    Shards,
    StripPrefix,
    UnknownLabel,
    Views,
    Weights,
    Within,
    Workers,
    column_map,
    column_map_words,
    note_workers,
    run_of_fold,
)
from eml.commands.sharded import SHARD_OPTIONS, ShardedConfig, sharded

if TYPE_CHECKING:
    import pandas as pd

    from eml.evaluation.evaluate import Evaluation
    from eml.evaluation.options import EvaluationOptions
    from eml.evaluation.runs import EvaluationResult, EvaluationResults
    from eml.inference.embed import Stored
    from eml.reports.evaluation.projections import ProjectionName


FEWEST_CLASSES = 20
"""Below it a threshold says little of other classes, so none is proposed."""
CLASSES_OF_A_GOAL = 2
"""Classes whose share of all is the sharpest goal to propose: resamples of 40 classes support 0.02, hardly 0.01."""


class EvaluateConfig(ShardedConfig):
    """Measure retrieval by exact nearest neighbours: R@K, MAP@R, R-Precision, mAP, MRR, GAP.

    Each image is a query among all the others of its table (leave-one-out), or by the columns is_query and is_gallery
    where the table has them. The query itself is left out; queries whose class has no other image are left out of the
    means and counted. In parentheses: 95 % intervals over the classes.
    """

    checkpoints: Annotated[
        PathTexts,
        Field(
            description="A run folder (its best checkpoint), a checkpoint folder, timm:NAME or "
            "open_clip:ARCH/PRETRAINED for a pretrained network without training, or embeddings made elsewhere (.npz, "
            ".npy, .parquet). Several are compared."
        ),
    ]
    data: Annotated[
        Paths,
        Field(description="Table or folder to evaluate on. Repeatable. Embeddings with labels need none."),
    ] = ()
    root: Annotated[PathField | None, Field(description="Folder that the tables' file names start from.")] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    precision: Precision = "float32"
    tta: Views = None
    fold: Fold = None
    leave_out_same: LeaveOutSame = None
    within: Within = None
    unknown_label: UnknownLabel = None
    against: PathText | None = Field(
        None, description="Compare with this model on the same images: is the difference more than chance?"
    )
    gallery_model: PathText | None = Field(
        None,
        description="Embed the gallery with this model, and the queries alone with each checkpoint, as for an index "
        "that an older model made: what are the new queries worth on the old index? Compared with this model alone.",
    )
    queries: int | None = Field(
        None,
        ge=100,
        description="Where there are more queries, draw so many of them, by class, and search the whole gallery for "
        "these. For large sets, whose time grows with queries times gallery; the intervals say what it costs.",
    )
    recall_at: Counts = option(
        (),
        "K of R@K, the share of queries with a positive among the K nearest. Repeatable. Default: as the table's "
        "official protocol says, else 1, 5, 10.",
    )
    slices: Names = option((), "Show the metrics by this column's values. Repeatable.", name="slice")
    pairs: Annotated[
        PathField | None,
        Field(
            description="Verification by these pairs (CSV file_name_1, file_name_2, same, perhaps fold; template_1, "
            "template_2, same of a column template; or LFW's pairs.txt)."
        ),
    ] = None
    verification: bool = Field(False, description="Verification by all pairs: AUC, EER, TAR@FAR.")
    clustering: bool = Field(False, description="NMI and AMI of k-means; slow with many classes.")
    whiten: Annotated[
        PathField | None,
        Field(
            description="Measure with PCA-whitened embeddings too, learnt from this table or folder of other images, "
            "such as those of training. Each of these stands beside the plain metrics, with the difference."
        ),
    ] = None
    augment_database: int | None = Field(
        None, ge=1, description="Measure with each gallery image averaged with so many neighbours too, such as 3."
    )
    query_expansion: int | None = Field(
        None, ge=1, description="Measure with each query averaged with so many nearest images too, such as 3."
    )
    rerank: int | None = Field(
        None,
        ge=2,
        description="Measure with k-reciprocal re-ranking by lists of so many neighbours too; about twice the images "
        "of a class, 20 in the paper.",
    )
    text_column: Names = Field(
        (),
        description="Measure retrieval by texts too: this column's texts find their images, and images their texts. "
        "Repeatable, for several texts of an image. Needs a model with a text tower.",
    )
    template: Names = Field(
        (),
        description='Measure zero-shot classification by the names of the classes too, with this text, such as "a '
        'photo of {label}"; {COLUMN} stands for a column. Repeatable: of several the mean is taken.',
    )
    names: NamesFile = None
    text_vectors: Annotated[
        PathField | None,
        Field(
            description="Text vectors of the classes that eml text wrote, in place of `template` and the model's text "
            "tower, such as for embeddings that were made elsewhere."
        ),
    ] = None
    adapt_on: Annotated[
        PathField | None,
        Field(
            description="Labelled images of the same classes, a table or folder: classify by their nearest class mean "
            "too, and by names and images together (Tip-Adapter, which needs no training)."
        ),
    ] = None
    out: Annotated[
        PathField | None,
        Field(
            description="Folder for the results. Default: RUN/evaluations, also for models without a run that are "
            "compared with one."
        ),
    ] = None
    save_embeddings: bool = Field(False, description="Write embeddings.npz beside metrics.json.")
    report: bool = Field(True, description="Write report.html beside metrics.json, to look at.")
    map: Literal["pca", "tsne", "umap"] = Field(
        "pca",
        description="The report's map of the embeddings: principal components, or beside them t-SNE or UMAP (which "
        "needs umap-learn); these take longer and show neighbourhoods.",
    )
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    shards: Shards = None
    shard: ShardNumber = None
    executor: Executor = None
    executor_options: ExecutorOptions = ()
    address: Address = None
    plugins: Plugins = ()

    @model_validator(mode="after")
    def _option_of_report(self) -> Self:
        if self.map != "pca" and not self.report:
            raise ValueError("`map`: only with `report`, whose page shows it")
        if self.map != "pca" and self.gallery_model is not None:
            raise ValueError("`map`: it shows the embeddings of one model; leave it out with `gallery_model`")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateResult(CommandResult):
    """Models on tables.

    Attributes:
        checkpoints: The models, as they were named.
        slices: The columns that the metrics are shown by.
        evaluations: Every model on every table, and the leaderboards of several models.
    """

    checkpoints: tuple[str, ...]
    slices: tuple[str, ...]
    evaluations: EvaluationResults

    @property
    def results(self) -> list[EvaluationResult]:
        """Every model on every table, in the order of the models."""
        return self.evaluations.results

    def summary(self) -> str:
        """Return R@1 and MAP@R of each model on each table."""
        return "\n".join(result.summary("recall_at_1", "map_at_r") for result in self.results)

    def summary_table(self) -> SummaryTable:
        """Return a row for each metric with its 95 % interval; of several models, or tables, a row for each."""
        from eml.evaluation.shown import metrics_table

        return metrics_table(self.results)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each metric of each model on each table, with its 95 % interval.

        The columns are model, table, metric (its name in metrics.json), value, low and high.
        """
        from eml.evaluation.shown import metrics_frame

        return metrics_frame(self.results)

    def cautions(self) -> tuple[str, ...]:
        """Return what limits the metrics, such as few classes or images that were trained on."""
        from eml.evaluation.shown import cautions_of

        several = len(self.checkpoints) > 1
        lines = [
            line for result in self.results for line in cautions_of(result.table, result.analysis, several=several)
        ]
        return tuple(dict.fromkeys(lines))  # once, where it is true of several models

    def to_dict(self) -> dict[str, Any]:
        """Return what each metrics.json says."""
        checkpoint = self.checkpoints[0] if len(self.checkpoints) == 1 else list(self.checkpoints)
        return {"checkpoint": checkpoint, "evaluations": self.evaluations.facts()}


@command(EvaluateConfig, arguments=("checkpoints",))
@sharded("evaluate")
def evaluate(config: EvaluateConfig, caller: Caller) -> EvaluateResult:
    """Evaluate every model on every table."""
    return measure(config, caller)


def measure(config: EvaluateConfig, caller: Caller, stored: Stored | None = None) -> EvaluateResult:
    """Evaluate every model on every table. stored: embeddings that were computed before."""
    from eml.distributed.processes import Processes
    from eml.evaluation.outputs import result_folders
    from eml.evaluation.runs import evaluate_models
    from eml.reports.evaluation.projections import check_projection
    from eml.retrieval.device import computing_on

    options = evaluation_options(config)
    with caller.checks():
        check_projection(config.map)
        options.check()  # before the processes meet
        result_folders(options)
        here = Processes.of_environment()
        if here.world > 1:
            here.device(config.device)
    if here.first:
        note_workers(config.workers, caller)
    with caller.join(config.device, here) as processes, computing_on(processes.device(config.device)):
        evaluations = evaluate_models(
            options,
            processes,
            write_page=_page_writer(caller, config.map) if config.report else None,
            stored=stored,
            report=caller.note,
            progress=caller.progress,
        )
    results = evaluations.results
    return EvaluateResult(
        checkpoints=tuple(options.checkpoints),
        slices=config.slices,
        evaluations=evaluations,
        written=tuple(file for result in results for file in result.files),
        replaced=tuple(file for result in results for file in result.replaced),
        removed_files=tuple(file for result in results for file in result.removed),
        next_command=_next_command(config, results),
    )


def evaluation_options(config: EvaluateConfig) -> EvaluationOptions:
    """Return the options of the config's evaluation."""
    from eml.evaluation.options import EvaluationOptions

    own = {"report", "map", "fold", "plugins", *SHARD_OPTIONS, *COLUMN_MAP}
    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in own}
    fields["checkpoints"] = tuple(run_of_fold(checkpoint, config.fold) for checkpoint in config.checkpoints)
    return EvaluationOptions(**fields, columns=column_map(config))


def _page_writer(caller: Caller, projection: ProjectionName) -> Callable[[EvaluationResult], None]:
    from eml.reports.evaluation import write_report

    def write_page(result: EvaluationResult) -> None:
        write_report(
            result.analysis,
            result.page,
            command=caller.command or "eml evaluate",
            projection=projection,
            progress=caller.progress,
        )

    return write_page


def _next_command(config: EvaluateConfig, results: list[EvaluationResult]) -> str | None:
    """Return the command that finds a threshold for the best model, where its table can support one."""
    from eml.errors import EmlError
    from eml.evaluation.calibration import checkpoint_to_calibrate
    from eml.retrieval.verification import Goal, refuse_hopeless

    if not results or not config.data or config.gallery_model is not None:
        return None
    best = max(results, key=lambda result: result.metrics["map_at_r"])
    evaluation = best.analysis.evaluation
    if evaluation.table.path is None or evaluation.trained_on.is_overlap:
        return None
    if evaluation.calibration is not None:
        return _index_command(config, best.model, evaluation)
    options = {
        "root": config.root,
        "leave-out-same": config.leave_out_same,
        "within": config.within,
        "unknown-label": config.unknown_label,
    }
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += [] if config.tta is None else ["--tta", config.tta]
    words += [] if config.precision == "float32" else ["--embed-precision", config.precision]
    words += column_map_words(config)
    retrieval = evaluation.retrieval
    classes = retrieval.num_classes
    if classes < FEWEST_CLASSES:
        return None
    for far in (0.01, 0.05, 0.1):
        if far * classes < CLASSES_OF_A_GOAL:
            continue
        try:
            checkpoint_to_calibrate(best.model)
            known, unknown_queries = retrieval.labels[retrieval.known], len(retrieval.unknown_queries)
            refuse_hopeless(Goal("far", far), known, len(retrieval.queries), unknown_queries)
        except EmlError:
            continue
        table = str(evaluation.table.path)
        return shlex.join(["eml", "calibrate", best.model, "--data", table, "--far", f"{far:g}", *words])
    return None


def _index_command(config: EvaluateConfig, model: str, evaluation: Evaluation) -> str | None:
    """Return the command that makes an index with a calibrated model, where it says how sure an answer is."""
    if evaluation.calibration is None or evaluation.calibration.answers is None:
        return None
    words = [] if config.root is None else ["--root", str(config.root)]
    words += [] if config.precision == "float32" else ["--precision", config.precision]
    words += [] if config.tta is None else ["--tta", config.tta]
    return index_command(model, evaluation.table.source, [*words, *column_map_words(config)])
