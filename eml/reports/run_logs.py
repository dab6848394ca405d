"""The logs of training runs, as plots and pages read them, of runs that are still going too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eml.errors import DataError
from eml.json_files import read_json, read_json_lines
from eml.models.pointers import RUN_FILE
from eml.training.comparable import drop_incomparable

STEPS, METRICS, TIMINGS = "steps.jsonl", "metrics.jsonl", "timings.jsonl"
LARGEST = 1e300  # that can be drawn
WINDOWS = 10  # of the running mean, side by side


class BestEpoch(NamedTuple):
    """A metric of a run: before training, and at its best epoch; None if it was not measured."""

    before: float | None
    best: float | None
    epoch: int | None


def find_best(run: Path, metric: str) -> BestEpoch:
    """Return the value of a metric before training and at the best epoch of a run folder.

    Of a set that was changed on resuming, as from the epoch of the change on. On all images of the set, where the run
    measured them before training and of the best epoch.
    """
    whole = read_whole(run)
    lines = [line for line in read_validations(run) if metric in line]
    before = next((line[metric] for line in lines if line["epoch"] == 0), None)
    best = max((line for line in lines if line["epoch"] > 0), key=lambda line: line[metric], default=None)
    before = before if before is None else whole.get(0, {}).get(metric, before)
    if best is None:
        return BestEpoch(before, None, None)
    return BestEpoch(before, whole.get(best["epoch"], best).get(metric, best[metric]), best["epoch"])


def find_questions(run: Path) -> dict[str, str]:
    """Return validation set → which question it answers; {} of a run whose run.json does not say so."""
    return {name: str(facts["question"]) for name, facts in _validation_sets(run).items() if "question" in facts}


def _validation_sets(run: Path) -> dict[str, dict[str, Any]]:
    """Return validation set → what run.json says of it; {} of a run whose run.json does not."""
    try:
        sets = read_json(run / RUN_FILE, dict[str, Any]).get("validations", {})
        return {str(name): dict(facts) for name, facts in sets.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # run.json may be of an older eml
        return {}


def read_validations(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, without values of images that a set no longer has."""
    sets = _validation_sets(run)
    since = {name: first for name, facts in sets.items() if _is_number(first := facts.get("since_epoch"))}
    return [drop_incomparable(line, since) for line in read_lines(run / METRICS)]


def read_whole(run: Path) -> dict[int, dict[str, Any]]:
    """Return epoch → metric → value on all images of the sets of which a part was measured after each epoch.

    They are those before training (epoch 0) and of the best epoch, of a finished run.
    """
    try:
        finished = read_json(run / RUN_FILE, dict[str, Any]).get("finished") or {}
        lines = [
            {key: value for key, value in line.items() if _is_number(value)} for line in finished["whole"].values()
        ]
        return {int(line["epoch"]): line for line in lines}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # run.json may be of an older eml
        return {}


def name_runs(runs: Sequence[Path]) -> list[str]:
    """Name each run by the shortest end of its path that no other run shares."""
    paths = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]


def running_mean(values: list[float]) -> list[float]:
    """Compute the mean over a window around each value: a twentieth of all to each side.

    A mean of the values before it, such as an exponential one, lags behind a loss that falls, and tells of a loss that
    was. At the beginning, where it falls most, both sides of the window are shorter; at the end only that to come.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places, reach = np.arange(len(values)), len(values) // (2 * WINDOWS)
    first = places - np.minimum(reach, places)
    last = places + np.minimum(np.minimum(reach, places), len(values) - 1 - places)
    means: list[float] = ((sums[last + 1] - sums[first]) / (last + 1 - first)).tolist()
    return means


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; each has the numbers that every line of it has.

    Raises:
        DataError: The file is damaged.
    """
    if not file.is_file():
        return []
    keys = ("step", "loss") if file.name == STEPS else ("epoch",)
    try:
        lines: list[dict[str, Any]] = read_json_lines(file, dict[str, Any])
        for number, line in enumerate(lines, 1):
            if wrong := [key for key in keys if not _is_number(line.get(key))]:
                raise ValueError(f"line {number}: {wrong[0]} is no number")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}", code="damaged-file", parameter="runs") from error
    return [{key: value for key, value in line.items() if _is_number(value)} for line in lines]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
