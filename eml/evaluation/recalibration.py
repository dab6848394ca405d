"""Calibrate again as an earlier calibration was, with other embeddings of the same images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.calibration import calibrate_answers, calibrated_fields
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.models.calibration import Calibration, find_calibration_table
from eml.models.fingerprint import Fingerprint
from eml.progress import Report
from eml.retrieval.answer_calibration import UNKNOWN_SHARE
from eml.retrieval.verification import Goal, calibrate
from eml.versions import eml_version

_PROTOCOL = re.compile(
    r"(?:leave-one-out|query/gallery)(?:, without the same (?P<group>.+?))?(?:, within each (?P<within>.+))?"
)


@dataclass(frozen=True)
class CalibrationTable:
    """The images that a calibration was made with, as they are now.

    Attributes:
        table: The table.
        retrieval: Its queries and gallery, by the protocol of the calibration.
    """

    table: Table
    retrieval: RetrievalSet


def read_calibration_table(
    calibration: Calibration,
    models: Sequence[str] = (),
    report: Report = lambda line: None,
    *,
    folder: Path | None = None,
) -> CalibrationTable:
    """Return the images of a calibration.

    Args:
        calibration: The calibration.
        models: The checkpoint, whose unknown label a table without an own one takes.
        report: Receives the lines about the table that is read.
        folder: The folder of the checkpoint, with which the table may have been moved.

    Raises:
        DataError: They are not there, not those of then, or are not enough to say the calibration again.
    """
    if calibration.carried_from is not None:
        raise DataError("it was made with a network before this one", code="out-of-date")
    protocol = _PROTOCOL.fullmatch(calibration.protocol)
    if protocol is None or calibration.table is None or calibration.table_digest is None:
        way = "by the folds of a cross-validation" if protocol is None else "of a table in no file"
        raise DataError(f"it was made {way}", code="missing-file")
    path = find_calibration_table(calibration, folder) or Path(calibration.table)
    if not path.is_file():
        place = "no longer there" if path.is_absolute() else f"not in {Path.cwd()}; run this where it was calibrated"
        raise DataError(f"its table {path} is {place}", code="missing-file")
    table = table_to_evaluate(path, None, report)
    if table.digest != calibration.table_digest:
        raise DataError(f"its table {path} was changed since", code="out-of-date")
    table = with_checkpoint_label(table, models, report)
    retrieval = build_retrieval_set(
        table.frame,
        table.name,
        unknown_label=table.unknown_label,
        leave_out_same=protocol["group"],
        within=protocol["within"],
    )
    if retrieval.protocol != calibration.protocol:
        text = f"its protocol was {calibration.protocol!r}, and by {path} it is {retrieval.protocol!r}"
        raise DataError(text, code="different-images")
    return CalibrationTable(table, retrieval)


def calibrate_again(
    calibration: Calibration, retrieval: RetrievalSet, embeddings: Tensor, fingerprint: Fingerprint
) -> Calibration:
    """Return the calibration for the same goal with other embeddings.

    Args:
        calibration: The earlier one.
        retrieval: Its images, by `read_calibration_table`.
        embeddings: (N, D) of them, by another model.
        fingerprint: Of that model.

    Raises:
        DataError: The images cannot support the goal, or are others than then.
    """
    goal = Goal(calibration.goal, calibration.goal_value)
    data = retrieval.open_set(embeddings)
    calibrated = calibrate(data, goal, strict=calibration.strict, seed=calibration.seed, few_classes=True)
    if calibrated.counts != calibration.counts:
        text = f"it was made with {_counts(calibration.counts)}, and the table gives {_counts(calibrated.counts)}"
        raise DataError(text, code="different-images")
    share = UNKNOWN_SHARE if calibration.answers is None else calibration.answers.unknown_share
    answers, notes = calibrate_answers(data, goal, unknown_share=share, seed=calibration.seed)
    fields = calibrated_fields(calibrated)
    again = calibration.model_dump() | fields
    again |= {
        "eml_version": eml_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights_digest": fingerprint.weights,
        "fingerprint": fingerprint,
        "answers": answers,
        "notes": [*fields["notes"], *notes],
        "images_digest": None,
    }
    return Calibration.model_validate(again)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
