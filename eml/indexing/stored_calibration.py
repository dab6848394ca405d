"""The calibration that an index has."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pydantic import ValidationError

from eml.errors import DataError
from eml.retrieval.answer_calibration import AnswerCalibration

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore


def calibration_of(store: IndexStore) -> AnswerCalibration | None:
    """Return the calibration of an index, None without one.

    Raises:
        DataError: It is of another version of eml.
    """
    stored = store.calibration
    if stored is None:
        return None
    try:
        return AnswerCalibration.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        command = shlex.join(["eml", "index", "calibrate", str(store.folder)])
        text = f"{store.folder}: its calibration is of another version of eml ({place}: {first['msg']}); run: {command}"
        raise DataError(text, code="out-of-date") from error
