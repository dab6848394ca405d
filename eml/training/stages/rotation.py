"""Few classes: each fold of whole classes is held out in turn, so that all classes judge what the run gives."""

from collections.abc import Callable, Sequence

import numpy as np

from eml.dataset.table import Table
from eml.retrieval.arrays import Integers
from eml.retrieval.statistics.choice import divide_classes
from eml.training.config import RunConfig
from eml.training.folds import is_rotated, whole_class_folds
from eml.training.stages.choosing import Candidates, StagedOutcome, choose_outcome
from eml.training.stages.closed_form import CANDIDATES
from eml.training.stages.outcomes import PooledMeasure
from eml.training.stages.staging import Collected, Staging
from eml.training.state import TrainingState

ROTATION = "rotation"
"""The folder of the runs of the other folds, in that of the run."""

Part = tuple[Staging, TrainingState]
"""The stages and the state of the finished run of a fold."""


def rotated_folds(config: RunConfig, table: Table) -> list[int]:
    """Return the other folds that a run in stages holds out in turn; none with enough classes in its own."""
    fold = config.data.fold
    if config.stages != "auto" or fold is None or "fold" not in table.frame or "/" in config.validation.metric:
        return []
    folds = whole_class_folds(table) if is_rotated(table, config.task) else []
    return [number for number in folds if number != fold] if fold in folds else []


def fold_config(config: RunConfig, fold: int) -> RunConfig:
    """Return the config of a run that holds out another fold."""
    return config.model_copy(
        update={
            "output": config.output / ROTATION / f"fold-{fold}",
            "data": config.data.model_copy(update={"fold": fold}),
            "trackers": (),
            "refit": False,
        }
    )


def rotate_folds(own: Part, folds: Sequence[int], train: Callable[[int], Part]) -> StagedOutcome:
    """Train with each of the other folds held out, choose by all classes, and write what the run gives.

    The networks are those of the last epoch: with few classes, a best epoch would be chosen by chance. All processes
    call this.

    Args:
        own: Of the run.
        folds: The other folds.
        train: Trains with a fold held out, or resumes that.
    """
    parts = [own, *(train(fold) for fold in folds)]
    collected = [staging.collect(state, state.closed_epochs) for staging, state in parts]

    def choose_and_ship() -> StagedOutcome:
        staged = _choose(parts, collected)
        staging = own[0]
        staging.ship(staged, collected[0], staging.measure(collected[0]))
        return staged

    return own[0].parts.processes.from_first(choose_and_ship)


def _choose(parts: Sequence[Part], collected: Sequence[Collected]) -> StagedOutcome:
    stagings = [staging for staging, _ in parts]
    measure = PooledMeasure([own.measure(networks) for own, networks in zip(stagings, collected, strict=True)])
    names = [name for staging in stagings for name in staging.class_names]
    labels: Integers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    groups = [staging.groups for staging in stagings]
    division = divide_classes(labels, seed=stagings[0].parts.config.seed, groups=_joined(groups))
    closed = list(CANDIDATES) if all(own.has_pairs for own in stagings) else []
    size = stagings[0].parts.preprocess.size
    candidates = Candidates(stagings[0].shown, names, closed, None, collected[0].epoch, size=size)
    return choose_outcome(division, measure, candidates)


def _joined(groups: Sequence[Integers | None]) -> Integers | None:
    """Return the look-alike groups of all folds; folds have none in common, since they were made so."""
    known = [own for own in groups if own is not None]
    if len(known) < len(groups):
        return None
    joined, offset = [], 0
    for own in known:
        joined.append(np.where(own >= 0, own + offset, -1))
        offset += int(own.max(initial=-1)) + 1
    return np.concatenate(joined)
