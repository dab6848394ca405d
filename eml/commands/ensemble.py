"""`eml ensemble`: several checkpoints as one."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    COLUMN_MAP,
    BatchSize,
    Device,
    FileColumn,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    StripPrefix,
    Workers,
    column_map,
    column_map_words,
    note_workers,
)

if TYPE_CHECKING:
    from eml.evaluation.ensemble import EnsembleOutcome


class EnsembleConfig(CommandConfig):
    """Make one checkpoint of several models, which every command takes like any other.

    By embeddings: these stand beside each other, each of unit length, so that a cosine is the mean of the models'
    cosines; it takes the time of all models. By weights: their mean, at the cost of one model, for runs that began from
    the same weights. Greedy: the mean of the best model and of those alone that raise MAP@R of `data`.
    """

    checkpoints: Annotated[
        PathTexts,
        Field(
            min_length=1,
            description="Runs, checkpoint folders or timm:NAME; a cross-validation stands for the runs of all its "
            "folds.",
        ),
    ]
    out: Annotated[PathField, Field(description="Folder of the new checkpoint.")]
    by: Literal["embeddings", "weights", "greedy"] = Field(
        "embeddings", description="What becomes one: embeddings or weights; greedy: the weights that help."
    )
    data: Annotated[
        PathField | None,
        Field(
            description="Table or folder of classes that were not trained on: the models and the new one are measured "
            "on it, and a greedy soup is chosen by it."
        ),
    ] = None
    root: Annotated[PathField | None, Field(description="Folder that the table's file names start from.")] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    overwrite: bool = Field(False, description="Replace an existing checkpoint in `out`.")
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EnsembleResult(CommandResult):
    """One checkpoint of several models."""

    outcome: EnsembleOutcome

    def summary(self) -> str:
        """Return the folder, the number of models in it and what was measured."""
        outcome = self.outcome
        measured = "" if outcome.value is None else f", MAP@R {outcome.value:.3f}"
        count = len(outcome.members)
        models = "1 model" if count == 1 else f"{count} models"
        return f"{outcome.folder}: {models} by {outcome.by}, {outcome.size:,} numbers{measured}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each model, and for all together."""
        outcome = self.outcome
        if outcome.value is None:
            return ["model"], [[name] for name in outcome.members]
        if outcome.by != "greedy":
            rows: list[list[Cell]] = [[member.name, f"{member.alone:.3f}"] for member in outcome.tried]
            return ["", "MAP@R"], [*rows, ["together", f"{outcome.value:.3f}"]]
        rows = [
            [member.name, f"{member.alone:.3f}", f"{member.together:.3f}", "yes" if member.is_member else "no"]
            for member in outcome.tried
        ]
        return ["", "MAP@R alone", "with those before", "member"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the models and what was measured."""
        return self.outcome.facts()


@command(EnsembleConfig, arguments=("checkpoints",))
def ensemble(config: EnsembleConfig, caller: Caller) -> EnsembleResult:
    """Make one checkpoint of several models."""
    from eml.evaluation.ensemble import EnsembleOptions, make_ensemble

    own = {"plugins", *COLUMN_MAP}
    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in own}
    note_workers(config.workers, caller)
    options = EnsembleOptions(**fields | {"columns": column_map(config)})
    outcome = make_ensemble(options, report=caller.note, progress=caller.progress)
    return EnsembleResult(
        outcome=outcome,
        written=(outcome.folder,),
        replaced=(outcome.folder,) if outcome.replaced else (),
        next_command=_next_command(config, outcome),
    )


def _next_command(config: EnsembleConfig, outcome: EnsembleOutcome) -> str | None:
    """Return the command that compares the new checkpoint with the best of its models, where the images are known."""
    if config.data is None:
        return None
    best = max(outcome.tried, key=lambda member: member.alone).name
    words = ["eml", "evaluate", str(config.out), "--against", best, "--data", str(config.data)]
    words += [] if config.root is None else ["--root", str(config.root)]
    return shlex.join([*words, *column_map_words(config), "--out", f"{config.out}_evaluations"])
