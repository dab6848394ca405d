"""Several checkpoints → one: embeddings beside each other, mean weights, or the mean of those that help."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.pipeline import table_to_evaluate
from eml.errors import CheckpointError, ConfigError, OutputError, Problem
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.evaluate import evaluate_model
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.evaluation.trained_overlap import OverlapCounter, TrainedOverlap
from eml.files import unwritable
from eml.images.preprocess import differences
from eml.inference.embed import Batching
from eml.inference.ensemble import join_models, refuse_compressed, save_model, trained_on_together
from eml.inference.load import load
from eml.inference.model import Model
from eml.models.checkpoint import recorded_unknown_label
from eml.models.ensemble import OF_PIXELS, mean_weights, members_of
from eml.models.pointers import fold_runs
from eml.progress import Progress, Report, no_progress
from eml.retrieval.arrays import Floats
from eml.retrieval.statistics.choice import ClassDivision, difference_facts, divide_classes, judge
from eml.retrieval.statistics.interval import Difference

Way = Literal["embeddings", "weights", "greedy"]


@dataclass(frozen=True)
class EnsembleOptions:
    """Which models become one, how, and where it is written.

    Attributes:
        checkpoints: Runs, checkpoints, timm:NAME, or cross-validations, which stand for all their folds.
        out: The folder of the new checkpoint.
        by: embeddings: beside each other; weights: their mean; greedy: the mean of those that help.
        data: Held-out images to measure on, and to choose a greedy soup by.
        overwrite: Whether `out` may be an existing checkpoint.
    """

    checkpoints: Sequence[str]
    out: Path
    by: Way = "embeddings"
    data: Path | None = None
    root: Path | None = None
    columns: ColumnMap = AS_NAMED
    batch_size: int = 64
    workers: int = 0
    device: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class TriedMember:
    """A model on the held-out images: alone, and in a greedy soup with those taken before it.

    Attributes:
        name: The model.
        alone: Its MAP@R, on the classes that choose.
        together: MAP@R of the mean weights with it; None where that was not measured.
        is_member: Whether it is part of the result.
    """

    name: str
    alone: float
    together: float | None = None
    is_member: bool = True


@dataclass(frozen=True)
class EnsembleOutcome:
    """The new checkpoint.

    Attributes:
        folder: Where it is.
        by: How it was made.
        members: The models in it.
        size: Its embedding size.
        replaced: Whether the folder existed.
        tried: The models on the held-out images.
        gain: MAP@R of the best of them alone, and of all together, on the classes that judge; None without images.
        division: Which classes chose the members, and which judge them.
        table: The name of the held-out images.
        overlap: How much of them any of the models was trained on.
    """

    folder: Path
    by: Way
    members: list[str]
    size: int
    replaced: bool
    tried: list[TriedMember] = field(default_factory=list)
    gain: Difference | None = None
    division: ClassDivision | None = None
    table: str | None = None
    overlap: TrainedOverlap | None = None

    @property
    def value(self) -> float | None:
        """MAP@R of the new checkpoint on the classes that judge; None without held-out images."""
        return None if self.gain is None else self.gain.after

    @property
    def chosen_by_all(self) -> bool:
        """Whether the classes that judge the members chose them too, which flatters the figure."""
        return self.by == "greedy" and self.division is not None and self.division.is_nested

    def facts(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "folder": str(self.folder),
            "by": self.by,
            "members": self.members,
            "size": self.size,
            "table": self.table,
            "map_at_r": self.value,
            "gain": None if self.gain is None else difference_facts(self.gain),
            "chosen_by": self.division.text if self.by == "greedy" and self.division is not None else None,
            "chosen_by_all": self.chosen_by_all,
            "tried": [vars(member) for member in self.tried],
            "trained_on": None if self.overlap is None else self.overlap.facts(),
        }


class HeldOutImages:
    """The images that models are measured on, and that a greedy soup is chosen by."""

    def __init__(self, options: EnsembleOptions, data: Path, report: Report, progress: Progress) -> None:
        table = table_to_evaluate(data, options.root, report, progress, columns=options.columns)
        self.table = with_checkpoint_label(table, options.checkpoints, report)
        self.retrieval = build_retrieval_set(table.frame, table.name, unknown_label=self.table.unknown_label)
        refuse_without_positives(self.retrieval, table.name)
        self.batching, self.progress = Batching(options.batch_size, options.workers), progress
        self.labels = self.retrieval.labels[self.retrieval.queries]  # (Q,)

    def precisions(self, model: Model, name: str) -> Floats:
        """Return (Q,) the average precision at R of each query by a model; its name is for the progress."""
        with self.progress(f"embedding {self.table.name}: {name}", len(self.retrieval.frame)) as advance:
            evaluation = evaluate_model(model, self.table, self.retrieval, batching=self.batching, progress=advance)
        return evaluation.summary.per_query["map_at_r"]


def make_ensemble(
    options: EnsembleOptions, *, report: Report = lambda line: None, progress: Progress = no_progress
) -> EnsembleOutcome:
    """Make one checkpoint of several, and write it whole or not at all.

    Raises:
        ConfigError: The options or the models do not fit together.
        OutputError: `out` exists, or cannot be written.
        CheckpointError: A checkpoint cannot be read.
        DataError: The images cannot be read, or no query has a positive.
    """
    _check(options)
    names = [name for checkpoint in options.checkpoints for name in _runs_of(checkpoint)]
    unknown_label = _unknown_label(names)
    held_out = None if options.data is None else HeldOutImages(options, options.data, report, progress)
    models = [load(name, device=options.device) for name in names]
    refuse_compressed(models)
    combined = _combine(options.by, models, held_out)
    replaced = options.out.exists()
    metrics = (
        {} if held_out is None or combined.gain is None else {f"{held_out.table.name}/map_at_r": combined.gain.after}
    )
    save_model(options.out, combined.model, metrics=metrics, unknown_label=unknown_label)
    outcome = EnsembleOutcome(options.out, options.by, names, combined.model.size, replaced)
    if held_out is None:
        return outcome
    return replace(
        outcome,
        members=[member.name for member in combined.tried if member.is_member],
        tried=combined.tried,
        gain=combined.gain,
        division=combined.division,
        table=held_out.table.name,
        overlap=OverlapCounter(report=report).count(
            trained_on_together(models), held_out.table, held_out.retrieval.frame
        ),
    )


@dataclass(frozen=True)
class CombinedModel:
    """One model of several, and what was measured of it."""

    model: Model
    tried: list[TriedMember] = field(default_factory=list)
    gain: Difference | None = None
    division: ClassDivision | None = None


def _combine(by: Way, models: Sequence[Model], held_out: HeldOutImages | None) -> CombinedModel:
    """Return one model of several, measured on the held-out images."""
    # Both refuse models that do not fit, before any image is embedded.
    model = join_models(models) if by == "embeddings" else average_models(models)
    if held_out is None:
        return CombinedModel(model)
    alone = [held_out.precisions(single, single.source) for single in models]
    if by == "greedy":
        return _greedy_soup(models, alone, held_out)
    means = [float(np.nanmean(values)) for values in alone]
    tried = [TriedMember(single.source, value) for single, value in zip(models, means, strict=True)]
    together = held_out.precisions(model, "together")
    return CombinedModel(model, tried, judge(alone[int(np.argmax(means))], together, held_out.labels))


def _other_way(model: Model, first: Model) -> list[str]:
    """Return in what a model embeds otherwise than another one; whose code resizes makes no difference."""
    words = differences(model.preprocess, first.preprocess, [*OF_PIXELS, "mean", "std"])
    return words + ([] if model.tta == first.tta else [f"tta {model.tta}, not {first.tta}"])


def average_models(models: Sequence[Model]) -> Model:
    """Return a model whose weights are the means of those of several.

    Raises:
        ConfigError: They have no mean, or embed in different ways.
    """
    first, problems = models[0], []
    for model in models:
        if members_of(model.embedder):
            text = f"{model.source}: is an ensemble, whose weights have no mean"
            problems.append(Problem(text, "members-do-not-fit"))
        elif words := _other_way(model, first):
            text = f"{model.source}: embeds otherwise than {first.source}: {', '.join(words)}"
            problems.append(Problem(text, "members-do-not-fit"))
    if problems:
        raise ConfigError(problems)
    network = mean_weights({f"{number}: {model.source}": model.embedder for number, model in enumerate(models, 1)})
    source = " + ".join(model.source for model in models)
    record = trained_on_together(models)
    return Model(
        network,
        first.preprocess,
        first.device,
        source=source,
        backbone=first.backbone,
        trained_on=record,
        tta=first.tta,
    )


def _greedy_soup(models: Sequence[Model], alone: Sequence[Floats], held_out: HeldOutImages) -> CombinedModel:
    """Return the mean of the best model and of those that raise MAP@R, the better ones first.

    Wortsman 2022, arXiv:2203.05482, recipe 1, with a gain instead of no loss: more members must earn their place. With
    enough classes, half of them choose, and the others judge.
    """
    division = divide_classes(held_out.labels)
    choosing = division.choosing
    means = [float(np.nanmean(values[choosing])) for values in alone]
    first, *others = sorted(range(len(models)), key=lambda number: -means[number])
    chosen, value, values, soup = [first], means[first], alone[first], average_models([models[first]])
    tried = [TriedMember(models[first].source, value, value)]
    for number in others:
        candidate = average_models([models[member] for member in (*chosen, number)])
        precisions = held_out.precisions(candidate, f"with {models[number].source}")
        together = float(np.nanmean(precisions[choosing]))
        helps = together > value
        tried.append(TriedMember(models[number].source, means[number], together, helps))
        if helps:
            chosen, value, values, soup = [*chosen, number], together, precisions, candidate
    judging = np.ones(len(choosing), bool) if division.is_nested else division.judging
    before, after = (np.where(judging, part, np.nan) for part in (alone[first], values))
    return CombinedModel(soup, tried, judge(before, after, held_out.labels), division)


def _check(options: EnsembleOptions) -> None:
    """Check the options before the work."""
    if options.by == "greedy" and options.data is None:
        text = "a greedy soup is chosen by its MAP@R: give images of classes that were not trained on as `data`"
        raise ConfigError(text, code="missing-key", parameter="data")
    out = options.out
    if out.exists() and not options.overwrite:
        text = f"{out}: exists; give another `out`, or set `overwrite` to replace the checkpoint in it"
        raise OutputError(text, code="file-exists", parameter="out")
    if out.exists() and not (out / "config.json").is_file():
        text = f"{out}: exists and is no checkpoint, which alone is replaced; give another `out`"
        raise OutputError(text, code="file-exists", parameter="out")
    if problem := unwritable(out.parent):
        raise OutputError(problem, code="not-writable", parameter="out")


def _runs_of(checkpoint: str) -> list[str]:
    """Return the runs that a cross-validation stands for, and any other name as it is."""
    return [str(run) for run in fold_runs(Path(checkpoint))] or [checkpoint]


def _unknown_label(names: Sequence[str]) -> str | None:
    """Return the label of images of unknown identity that all models share. Raises ConfigError if they differ."""
    labels = dict[str | None, str]()
    for name in names:
        try:
            labels.setdefault(recorded_unknown_label(Path(name)), name)
        except CheckpointError:
            continue  # timm:NAME, or loading it will say what is wrong
    known = {label: name for label, name in labels.items() if label is not None}
    if len(known) > 1:
        words = " and ".join(f"{label!r} ({name})" for label, name in known.items())
        text = f"the models have different labels for images of unknown identity, {words}; a class of one is none of "
        raise ConfigError(f"{text}another, so they cannot become one", code="members-do-not-fit")
    return next(iter(known), None)
