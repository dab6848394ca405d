"""Compaction erases what was removed from every file, and joins the segments."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from eml.indexing.store import IndexStore


def files_with(folder: Path, data: bytes) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and data in path.read_bytes())


def test_no_byte_of_a_removed_image_is_left(tmp_path) -> None:
    store = IndexStore.create(tmp_path / "index", size=32)
    vectors = np.random.default_rng(0).normal(size=(600, 32)).astype(np.float32)
    names = [f"photos/person-{number:04d}.jpg" for number in range(600)]
    for first in range(0, 600, 100):  # several segments, rows that have been moved between pages
        part = slice(first, first + 100)
        rows = {"file_name": names[part], "label": [f"owner {number // 4}" for number in range(first, first + 100)]}
        contents = [f"{number:032x}" for number in range(first, first + 100)]
        store.add(
            vectors[part], pd.DataFrame(rows | {"content": contents, "note": [f"secret of {n}" for n in names[part]]})
        )
    gone, kept = 333, 334
    secrets = [
        names[gone].encode(),
        f"secret of {names[gone]}".encode(),
        f"{gone:032x}".encode(),
        store.embeddings([gone + 1]).tobytes(),
    ]
    assert files_with(tmp_path, secrets[3]) != []
    store.remove(ids=[gone + 1])
    reader = IndexStore.open(tmp_path / "index")
    assert len(reader.search(vectors[gone : gone + 1], 600).ids[0]) == 600
    compacted = store.compact()
    assert compacted.is_erased
    assert compacted.dropped == 1
    assert compacted.segments == 1
    assert [files_with(tmp_path, secret) for secret in secrets] == [[]] * 4
    assert files_with(tmp_path, names[kept].encode()) != []
    store.close()
    assert [files_with(tmp_path, secret) for secret in secrets] == [[]] * 4
    assert gone + 1 not in reader.search(vectors[gone : gone + 1], 599).ids
    assert reader.verify() == []


def test_a_reader_of_an_earlier_moment_is_told_and_erased_from_later(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("eml.indexing.compaction.READERS", 0.0)
    monkeypatch.setattr("eml.indexing.database.READING", 0)
    store = IndexStore.create(tmp_path / "index", size=2)
    store.add(np.eye(2), pd.DataFrame({"file_name": ["first.jpg", "second.jpg"]}))
    reader = IndexStore.open(tmp_path / "index")
    store.remove(file_names=["first.jpg"])
    with reader.snapshot():
        assert reader.rows()["file_name"].tolist() == ["second.jpg"]
        assert not store.compact().is_erased
        assert store.info().is_to_erase
        assert reader.search(np.eye(2), 1).ids.tolist() == [[2], [2]], "its segment is read from the database"
    assert store.compact().is_erased
    assert files_with(tmp_path, b"first.jpg") == []


def test_segments_are_joined_and_ids_stay(tmp_path) -> None:
    store = IndexStore.create(tmp_path / "index", size=2)
    for count in (40, 10, 3, 1):
        store.add(np.tile([[1.0, 2.0]], (count, 1)))
    assert store.info().segments == 4
    store.remove(ids=[54])
    assert store.compact().segments == 1
    assert store.add(np.eye(2)).ids.tolist() == [55, 56], "an id is never given twice"
    assert store.compact().dropped == 0


def test_what_is_under_derived_can_be_deleted(tmp_path) -> None:
    told: list[str] = []
    store = IndexStore.create(tmp_path / "index", size=2, report=told.append)
    store.add(np.eye(2))
    before = store.search(np.eye(2), 2)
    store.remove(ids=[1])
    store.close()
    shutil.rmtree(tmp_path / "index" / "derived")
    with IndexStore.open(tmp_path / "index", report=told.append) as store:
        assert store.search(np.eye(2), 2).ids.tolist() == [[2, -1], [2, -1]]
        assert store.info().removed == 0
    assert "cannot be read: No such file" in told[0]
    assert told[0].endswith("it has been made again")
    assert before.ids.tolist() == [[1, 2], [2, 1]]
