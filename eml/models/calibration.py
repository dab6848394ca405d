"""calibration.json in a checkpoint folder: the threshold on the cosine, what it is good for, and how that is known."""

import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from eml.config import Strict
from eml.errors import CheckpointError
from eml.files import digest

FORMAT = 1
NAME = "calibration.json"
WEIGHTS = "model.safetensors"


class Rate(Strict):
    """A value with its 95 % interval, over classes; null: there is none."""

    value: float
    low: float | None
    high: float | None


class Calibration(Strict):
    """What `eml calibrate` writes.

    goal: far, pair_far or precision, see `goal_checks.Goal`. threshold: accept from this cosine upwards; with
    strict it is the upper end of its interval. plain_threshold: at which just the classes at hand keep to the goal.
    measured: rates at the threshold. held_out: the goal's rate on halves of the classes at the threshold of the other
    halves; null where a half gave none, and in held_out_mean where most gave none. histogram: pairs of the same class
    and of different ones in bins of cosine between the edges.
    """

    format: int = FORMAT
    eml_version: str
    created: str
    weights_digest: str
    goal: Literal["far", "pair_far", "precision"]
    goal_value: float
    strict: bool
    threshold: Rate
    plain_threshold: float
    measured: dict[str, Rate]
    held_out: list[float | None]
    held_out_mean: float | None
    confidence: float
    seed: int
    resamples: int
    table: str | None
    table_digest: str | None
    protocol: str
    counts: dict[str, int]
    notes: list[str]
    histogram_edges: list[float]
    histogram_same: list[int]
    histogram_different: list[int]


def calibration_path(folder: Path) -> Path:
    """Where a checkpoint folder has it."""
    return folder / NAME


def weights_digest(folder: Path) -> str:
    """Of the weights that a threshold belongs to."""
    return digest(folder / WEIGHTS)


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a checkpoint folder; None where there is none.

    Raises CheckpointError when it cannot be read, is of a newer eml or belongs to other weights.
    """
    file = calibration_path(folder)
    if not file.is_file():
        return None
    again = "run eml calibrate again, or delete it"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            raise CheckpointError(f"{file}: written by a newer eml ({data.get('eml_version')}); upgrade eml to read it")
        found = Calibration.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise CheckpointError(f"{file}: no calibration ({where}: {first['msg']}); {again}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}; {again}") from error
    if found.weights_digest != weights_digest(folder):
        raise CheckpointError(f"{file}: belongs to other weights than those beside it; {again}")
    return found
