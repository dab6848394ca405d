"""calibration.json in a checkpoint folder: the threshold on the cosine, and the rates measured at it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from eml.config import Strict
from eml.errors import CheckpointError
from eml.files import digest_of
from eml.json_files import read_json
from eml.models.fingerprint import Fingerprint
from eml.models.hub_folder import checkpoint_digest
from eml.retrieval.answer_calibration import AnswerCalibration, CalibratedRate

__all__ = [
    "CalibratedRate",
    "Calibration",
    "calibration_path",
    "find_calibration_table",
    "read_calibration",
    "weights_digest",
]

FORMAT = 3
CARRIED_FORMAT = 4
"""Calibrations that are carried over from another network have it: an eml that does not know these refuses them."""
NAME = "calibration.json"
OLD_COUNTS = {"pictures": "images"}


class Calibration(Strict):
    """The calibration of a checkpoint, as `eml calibrate` writes it.

    Attributes:
        goal: far, pair_far or precision, see `eml.retrieval.verification.goal_checks.Goal`.
        threshold: The lowest cosine that is accepted. With `strict` it is the upper end of its interval.
        plain_threshold: The threshold at which only the classes of the calibration set keep to the goal.
        measured: Rates at the threshold, on the calibration set.
        held_out: The goal's rate on halves of the classes at the threshold chosen on the other halves; null for a half
            that gives no threshold.
        held_out_mean: Its mean; null if most halves give no threshold.
        counts: Numbers of images, classes, queries and pairs of the calibration set.
        histogram_edges: Edges of bins of cosine.
        histogram_same: Pairs of one class in each bin.
        histogram_different: Pairs of different classes in each bin.
        table: The path of its table: absolute, since eml is run in other folders too; as it was given in files of
            eml 0.1.0, and a name alone where the model was exported. See `find_calibration_table`.
        trained_on: How much of the calibration set the checkpoint was trained on, as in metrics.json; null in files of
            eml 0.1.0.
        fingerprint: Of the model that embedded the calibration set; null in files of eml 0.1.0, which knew no precision
            but float32 and no test-time augmentation.
        answers: The probability of answers by classes, and when they are "unknown"; null in files of eml 0.1.0.
        images_digest: Of the embeddings of the calibration set, kept beside it; null without any.
        carried_from: The classes of the calibration set, where another network was calibrated by them, before this one
            was trained on them too; null: this one was.
        histogram_known: Queries of known classes in each bin, by the cosine of their nearest image.
        histogram_unknown: Queries of unknown classes in each bin, by that of their nearest image.
    """

    format: int = FORMAT
    eml_version: str
    created: str
    weights_digest: str
    goal: Literal["far", "pair_far", "precision"]
    goal_value: float
    strict: bool
    threshold: CalibratedRate
    plain_threshold: float
    measured: dict[str, CalibratedRate]
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
    trained_on: dict[str, Any] | None = None
    fingerprint: Fingerprint | None = None
    answers: AnswerCalibration | None = None
    images_digest: str | None = None
    carried_from: list[str] | None = None
    histogram_known: list[int] | None = None
    histogram_unknown: list[int] | None = None

    def __repr__(self) -> str:
        images = f"{self.counts.get('images', 0):,} images"
        return f"<Calibration on {images}: threshold {self.threshold.value:.4f} for {self.goal} {self.goal_value:g}>"

    def with_trained_on(self, trained_on: dict[str, Any]) -> "Calibration":
        """Return a copy that says how much of the calibration set the checkpoint was trained on."""
        return self.model_copy(update={"trained_on": trained_on})

    def to_json(self) -> dict[str, Any]:
        """Return the content of calibration.json, without keys that say nothing and an earlier eml does not know."""
        if self.carried_from is None:
            return self.model_dump(mode="json", exclude={"carried_from"})
        return self.model_dump(mode="json") | {"format": CARRIED_FORMAT}

    @field_validator("counts", mode="before")
    @classmethod
    def _read_old_names(cls, counts: Any) -> Any:
        """Read the names of eml 0.1.0 too, which called images pictures."""
        return (
            {OLD_COUNTS.get(name, name): count for name, count in counts.items()}
            if isinstance(counts, dict)
            else counts
        )


def calibration_path(folder: Path) -> Path:
    """Return the path of the calibration in a checkpoint folder."""
    return folder / NAME


def find_calibration_table(calibration: Calibration, folder: Path | None) -> Path | None:
    """Return where the table of a calibration is now; None where the calibration names none.

    It may be where it was, or where it is if it was moved along with the checkpoint: the end of its path of then begins
    at a folder that the checkpoint is in now. The file that has the digest of then is the table. Without any, return
    the path of then.

    Args:
        calibration: The calibration.
        folder: The folder of the checkpoint.
    """
    if calibration.table is None:
        return None
    recorded = Path(calibration.table)
    parents = () if folder is None else folder.absolute().parents
    ends = [Path(*recorded.parts[start:]) for start in range(bool(recorded.anchor), len(recorded.parts))]
    for path in (recorded, *(parent / end for end in ends for parent in parents)):
        if calibration.table_digest is not None and digest_of(path) == calibration.table_digest:
            return path
    return recorded


def weights_digest(folder: Path) -> str:
    """Return the digest of a checkpoint's weights, to which a threshold belongs."""
    return checkpoint_digest(folder)


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of a checkpoint folder, or None if it was not calibrated.

    Raises:
        CheckpointError: The file cannot be read, was written by a newer eml, or belongs to other weights.
    """
    file = calibration_path(folder)
    if not file.is_file():
        return None
    advice = "run eml calibrate again, or delete it"
    try:
        data = read_json(file)
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > CARRIED_FORMAT:
            raise CheckpointError(
                f"{file}: written by a newer eml ({data.get('eml_version')}); upgrade eml to read it", code="newer-eml"
            )
        calibration = Calibration.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        problem = f"{file}: not a calibration ({key}: {first['msg']}); {advice}"
        raise CheckpointError(problem, code="damaged-file") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}; {advice}", code="damaged-file") from error
    if calibration.weights_digest != weights_digest(folder):
        raise CheckpointError(f"{file}: belongs to other weights than those beside it; {advice}", code="out-of-date")
    return calibration
