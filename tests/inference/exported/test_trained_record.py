"""The record of what a model was trained on, as it travels in an exported file."""

import numpy as np
import pytest
from pydantic import ValidationError

from eml.inference.exported.trained_record import TrainedRecord
from eml.models.trained_on import NOTHING_BY_EML, TrainedOn, trained_on


@pytest.mark.parametrize(
    "record",
    [
        trained_on(["b", "ä"], np.array([7, 2**63, 1], np.uint64)),
        trained_on(["b"], np.array([7], np.uint64)).after(TrainedOn(frozenset("a"), None), "old"),
        TrainedOn(frozenset("ab"), None),
        NOTHING_BY_EML,
    ],
    ids=["known", "partly known", "unknown", "pretrained"],
)
def test_a_record_is_the_same_after_it_travelled(record: TrainedOn) -> None:
    travelled = TrainedRecord.model_validate_json(TrainedRecord.of(record).model_dump_json())
    again = travelled.trained_on()
    assert again is not None
    assert (again.status, again.classes, again.unrecorded) == (record.status, record.classes, record.unrecorded)
    np.testing.assert_array_equal(again.keys, record.keys)
    assert not travelled.left_out(record)


def test_what_is_too_large_is_left_out_and_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    record = trained_on([f"class {number}" for number in range(9)], np.arange(30, dtype=np.uint64))
    monkeypatch.setattr("eml.inference.exported.trained_record.MOST_BYTES", 200)
    travelled = TrainedRecord.of(record)
    again = travelled.trained_on()
    assert again is not None
    assert (again.status, len(again.classes)) == ("unknown", 9)
    assert "images" in travelled.left_out(record)
    monkeypatch.setattr("eml.inference.exported.trained_record.MOST_BYTES", 20)
    travelled = TrainedRecord.of(record)
    assert travelled.trained_on() is None
    assert "classes and the images" in travelled.left_out(record)


@pytest.mark.parametrize("images", ["AAAA", "no base64!"])
def test_keys_that_are_none_are_refused(images: str) -> None:
    with pytest.raises(ValidationError):
        TrainedRecord(classes=["a"], images=images)
