"""The record of what a network was trained on: read as it was written, joined, and never "none" for "unknown"."""

from pathlib import Path

import numpy as np
import pytest

from eml.errors import CheckpointError
from eml.models.checkpoint import read_trained_on
from eml.models.trained_on import (
    NOTHING_BY_EML,
    RecordFacts,
    TrainedOn,
    check_labels,
    read_record,
    record_facts,
    trained_on,
    write_record,
)

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "run"


def keys(*values: int) -> "np.typing.NDArray[np.uint64]":
    return np.array(values, np.uint64)


def test_a_record_is_read_as_it_was_written_in_8_bytes_an_image(tmp_path: Path) -> None:
    record = trained_on(["b", "a"], keys(2**64 - 1, 7, 7, 1)).after(trained_on(["a", "old"], keys(8)), "earlier")
    write_record(tmp_path, record, ["a", "b"])
    facts = record_facts(record, ["a", "b"])
    assert (facts.images, facts.earlier_classes) == (4, 1)
    assert (tmp_path / "trained_images.bin").stat().st_size == 4 * 8
    again = read_record(tmp_path, RecordFacts.model_validate_json(facts.model_dump_json()), ["a", "b"])
    assert again.classes == {"a", "b", "old"}
    assert again.keys.tolist() == [1, 7, 8, 2**64 - 1]
    assert again.status == "known"


def test_what_was_not_recorded_is_unknown_and_stays_so_in_the_runs_that_start_from_it() -> None:
    old = read_record(Path("nowhere"), None, ["a"])
    assert (old.status, old.images, old.classes) == ("unknown", None, {"a"})
    new = trained_on(["b"], keys(3)).after(old, "runs/old")
    assert (new.status, new.unrecorded, new.classes) == ("partly known", ("runs/old",), {"a", "b"})
    newer = trained_on(["c"], keys(4)).after(new, "runs/new")
    assert (newer.status, newer.unrecorded, newer.keys.tolist()) == ("partly known", ("runs/old",), [3, 4])
    assert NOTHING_BY_EML.status == "pretrained"
    assert trained_on(["c"], keys(4)).after(NOTHING_BY_EML, "timm:x").status == "known"
    assert read_trained_on(OLD_RUN).status == "unknown"
    assert repr(new) == "<TrainedOn partly known: classes 2, images 1>"
    assert repr(old) == "<TrainedOn unknown: classes 1>"


@pytest.mark.parametrize("labels", [[], ["a", "a"], ["b", "a"], ["a", "x"], ["a"]])
def test_an_edited_list_of_classes_is_an_error(tmp_path: Path, labels: list[str]) -> None:
    facts = record_facts(trained_on(["a", "b", "old"], keys(1)), ["a", "b"])
    check_labels(tmp_path, ["a", "b"], facts)
    with pytest.raises(CheckpointError, match=r"names no class|names a class twice|is not the list of the 2 classes"):
        check_labels(tmp_path, labels, facts)
    check_labels(tmp_path, ["b", "a"], None)  # what eml 0.1.0 wrote has no facts
    write_record(tmp_path, trained_on(["a", "b", "old"], keys(1)), ["a", "b"])
    (tmp_path / "earlier_labels.json").write_text('["new"]')
    with pytest.raises(CheckpointError, match=r"earlier_labels\.json: is not the list of 1 classes"):
        read_record(tmp_path, facts, ["a", "b"])


def test_a_record_that_is_missing_or_of_another_checkpoint_is_an_error(tmp_path: Path) -> None:
    record = TrainedOn(frozenset({"a", "b"}), keys(1, 2))
    write_record(tmp_path, record, ["a"])
    facts = record_facts(record, ["a"])
    file = tmp_path / "trained_images.bin"
    data = file.read_bytes()
    for damaged in (data[:-8], data[:-1] + b"x", b""):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"trained_images\.bin: is not the record of the images"):
            read_record(tmp_path, facts, ["a"])
    file.unlink()
    with pytest.raises(CheckpointError, match=r"trained_images\.bin: cannot be read"):
        read_record(tmp_path, facts, ["a"])
    file.write_bytes(data)
    for text in ("[", "{}", "[1]", '["b", "c"]', "[" * 100_000):
        (tmp_path / "earlier_labels.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"earlier_labels\.json"):
            read_record(tmp_path, facts, ["a"])
