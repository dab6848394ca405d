"""An index answers as a dictionary and a matrix would, after any sequence of changes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.errors import ConfigError, DataError, OutputError
from eml.indexing import changes, embedding_rows, segment_files, view
from eml.indexing.store import IndexStore
from eml.retrieval.search import nearest

SIZE = 6


@dataclass(frozen=True)
class Where:
    sql: str
    parameters: tuple


@pytest.fixture
def small_segments(monkeypatch) -> None:
    """Make segments, blocks and tiles of a few rows, so that small indexes have many."""
    for module in (segment_files, changes, embedding_rows):
        monkeypatch.setattr(module, "SEGMENT_ROWS", 16)
    monkeypatch.setattr(segment_files, "BLOCK_ROWS", 4)
    monkeypatch.setattr(view, "TILE_ROWS", 5)
    monkeypatch.setattr(view, "ENTRIES", 60)
    monkeypatch.setattr(view, "FULL_WIDTH", 8)


class Oracle:
    """What an index must hold, in a dictionary: id → (unit vector, row)."""

    def __init__(self) -> None:
        self.images: dict[int, tuple[np.ndarray, dict]] = {}
        self.last = 0

    def add(self, vectors: np.ndarray, rows: list[dict], duplicates: str) -> list[int]:
        ids = []
        known = {row["content"] for _, row in self.images.values()}
        for vector, row in zip(vectors, rows, strict=True):
            if duplicates == "skip" and row["content"] in known:
                continue
            known.add(row["content"])
            self.last += 1
            self.images[self.last] = vector, row
            ids.append(self.last)
        return ids

    def nearest(self, queries: np.ndarray, k: int, keep=lambda row: True) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids and cosines that the engine of evaluate finds."""
        ids = np.array([number for number, (_, row) in sorted(self.images.items()) if keep(row)], np.int64)
        gallery = np.array([self.images[number][0] for number in ids.tolist()], np.float32).reshape(-1, SIZE)
        answer = nearest(torch.from_numpy(queries), torch.from_numpy(gallery), k)
        return np.where(answer.indices < 0, -1, ids[answer.indices] if len(ids) else -1), answer.similarities


def draw_images(random: np.random.Generator, count: int, storage: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Return embeddings, some of them equal, and rows with columns of each kind."""
    vectors = random.integers(-2, 3, (count, SIZE)).astype(np.float32)
    vectors[(vectors == 0).all(1)] = 1
    vectors /= np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    rows = pd.DataFrame(
        {
            "file_name": [f"{random.integers(1000)}.jpg" for _ in range(count)],
            "label": [f"class {random.integers(5)}" for _ in range(count)],
            "content": [f"{random.integers(60):032x}" for _ in range(count)],
            "price": random.integers(0, 40, count) / 4,
            "sold": random.integers(0, 2, count) == 1,
        }
    )
    return vectors, rows


def check_equal(store: IndexStore, oracle: Oracle, random: np.random.Generator) -> None:
    ids = sorted(oracle.images)
    assert len(store) == len(ids) == store.info().images
    assert store.ids().tolist() == ids
    queries = random.normal(size=(4, SIZE)).astype(np.float32)
    if ids:
        queries[0] = oracle.images[ids[0]][0]
    for keep, where in (
        (lambda row: True, None),
        (lambda row: row["price"] < 3, Where('("price" < ?)', (3,))),
        (lambda row: row["sold"] and row["label"] != "class 1", Where('("sold" AND "label" != ?)', ("class 1",))),
    ):
        if where is not None and "price" not in store.columns:
            continue
        for k in (1, 7, 40):
            answer = store.search(queries, k, where)
            expected, cosines = oracle.nearest(queries, k, keep)
            assert answer.ids.tolist() == expected.tolist()
            assert np.abs(np.nan_to_num(answer.cosines) - np.nan_to_num(cosines)).max() <= 1e-6
        kept = [number for number in ids if keep(oracle.images[number][1])]
        tiles = list(store.tiles(where))
        assert [number for numbers, _ in tiles for number in numbers.tolist()] == kept
        for numbers, vectors in tiles:
            stored = np.array([oracle.images[number][0] for number in numbers.tolist()])
            assert np.abs(vectors.numpy() - stored).max() <= 1e-6
    some = random.permutation(ids)[:5] if ids else []
    frame = store.rows(some)
    for place, number in enumerate(np.array(some).tolist()):
        row = oracle.images[number][1]
        assert {name: frame[name][place] for name in row} == row
        assert store.labels([number, -1]).tolist() == [row["label"], ""]


def change(store: IndexStore, oracle: Oracle, random: np.random.Generator) -> None:
    """Make the same random change in both."""
    ids = sorted(oracle.images)
    match random.integers(5):
        case 0 | 1:
            vectors, rows = draw_images(random, int(random.choice([1, 2, 5, 20, 50])), store.storage)
            duplicates = str(random.choice(["skip", "keep"]))
            added = store.add(vectors, rows, duplicates)
            assert added.ids.tolist() == oracle.add(vectors, rows.to_dict("records"), duplicates)
            assert len(added.ids) + len(added.skipped) == len(rows)
        case 2 if ids:
            chosen = random.permutation(ids)[: random.integers(1, 12)].tolist()
            label = oracle.images[chosen[0]][1]["label"] if random.integers(2) else None
            store.remove(ids=chosen, labels=[label] if label else [])
            gone = {number for number, (_, row) in oracle.images.items() if number in chosen or row["label"] == label}
            for number in gone:
                del oracle.images[number]
        case 3:
            store.close()
        case 4:
            removed = store.info().removed
            compacted = store.compact()
            assert (compacted.dropped, compacted.is_erased) == (removed, True)
            assert (store.info().removed, store.info().is_to_erase) == (0, False)


def play(folder: Path, seed: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    store, oracle = IndexStore.create(folder, size=SIZE), Oracle()
    for _ in range(steps):
        change(store, oracle, random)
        check_equal(store, oracle, random)
    assert store.verify() == []
    store.close()


@pytest.mark.parametrize("seed", range(3))
def test_an_index_answers_as_a_dictionary_and_a_matrix(seed, tmp_path, small_segments) -> None:
    play(tmp_path / "index", seed, 6)


@pytest.mark.wide
def test_500_sequences_of_changes(tmp_path, small_segments) -> None:
    for seed in range(500):
        play(tmp_path / str(seed), seed, 8)


def test_images_with_the_content_of_others_are_told(tmp_path) -> None:
    store = IndexStore.create(tmp_path / "index", size=2)
    rows = pd.DataFrame({"file_name": ["a", "b", "c", "d"], "label": "x", "content": ["1", "2", "1", None]})
    added = store.add(np.eye(2)[[0, 1, 0, 0]], rows)
    assert added.ids.tolist() == [1, 2, 3]
    assert added.skipped.to_dict("records") == [{"row": 2, "file_name": "c", "id": 1, "label": "x"}]
    boxes = rows.assign(x_1=[0, 0, 5, 0], y_1=0, x_2=9, y_2=9)
    assert store.add(np.eye(2)[[0, 1, 0, 0]], boxes).ids.tolist() == [4, 5, 6, 7], "another box is another image"
    assert store.add(np.eye(2)[[0, 1, 0, 0]], boxes, "keep").ids.tolist() == [8, 9, 10, 11]


def test_what_does_not_fit_is_refused_and_nothing_is_added(tmp_path) -> None:
    store = IndexStore.create(tmp_path / "index", size=3, fingerprint={"digest": "a", "backbone": "resnet18"})
    store.add(np.eye(3), pd.DataFrame({"price": [1, 2, 3]}))
    with pytest.raises(DataError, match=r"embeddings of 3 numbers, got \(2, 4\)") as error:
        store.add(np.ones((2, 4)))
    assert error.value.code == "wrong-shape"
    bad = np.array([[1, 0, 0], [np.nan, 0, 0], [0, 0, 0], [np.inf, 0, 0]])
    with pytest.raises(DataError, match=r"3 of 4 embeddings .*: row 1 \(b\.jpg\); row 2 \(c\.jpg\); row 3") as error:
        store.add(bad, pd.DataFrame({"file_name": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]}))
    assert error.value.code == "invalid-embeddings"
    with pytest.raises(DataError) as error:
        store.add(np.eye(3)[:1], pd.DataFrame({"price": ["cheap"], "id": [1], "Label": ["x"]}))
    assert sorted(problem.code for problem in error.value.problems) == ["repeated-column", "reserved-column"]
    with pytest.raises(DataError, match="'price': the index holds numbers in it, got 'cheap'"):
        store.add(np.eye(3)[:1], pd.DataFrame({"price": ["cheap"]}))
    with pytest.raises(DataError, match="another model: backbone resnet50 instead of resnet18") as error:
        store.add(np.eye(3), fingerprint={"digest": "b", "backbone": "resnet50"})
    assert error.value.code == "different-model"
    with pytest.raises(DataError, match="no image of id 9, label 'cat'; nothing is removed"):
        store.remove(ids=[1, 9], labels=["cat"])
    with pytest.raises(ConfigError, match="k must be"):
        store.search(np.eye(3), 0)
    with pytest.raises(DataError, match="row 0"):
        store.search(np.zeros((1, 3)), 1)
    assert len(store) == 3
    assert store.generation == 1


def test_a_misspelt_label_to_remove_is_told_with_the_one_that_it_is_like(tmp_path) -> None:
    with IndexStore.create(tmp_path / "index", size=3) as store:
        store.add(np.eye(3), pd.DataFrame({"label": ["red mug", "blue mug", ""], "file_name": ["1.jpg", "2.jpg", "3"]}))
        with pytest.raises(DataError, match=r"label 'red mgu' \(did you mean 'red mug'\?\), file name 'x'; nothing"):
            store.remove(labels=["red mgu"], file_names=["x"])


def test_a_folder_that_is_no_index_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such index"):
        IndexStore.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not an index") as error:
        IndexStore.open(tmp_path)
    assert error.value.code == "not-an-index"
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="is not empty"):
        IndexStore.create(tmp_path, size=3)


def test_embeddings_are_of_length_1_and_exact_where_they_were(tmp_path) -> None:
    unit = np.random.default_rng(0).normal(size=(50, 9))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    store = IndexStore.create(tmp_path / "single", size=9)
    store.add(unit)
    assert (store.embeddings(np.arange(1, 51)) == unit).all()
    half = IndexStore.create(tmp_path / "half", size=9, storage="float16")
    half.add(torch.from_numpy(unit) * 1e30)
    vectors = half.embeddings(np.arange(1, 51))
    assert vectors.dtype == np.float32
    assert np.abs(vectors - unit).max() < 1e-3
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    answer = half.search(unit, 3)
    expected = nearest(torch.from_numpy(unit), torch.from_numpy(vectors), 3)
    assert (answer.ids == expected.indices + 1).all()
    assert np.abs(answer.cosines - expected.similarities).max() <= 1e-6
    assert half.info().derived_bytes < store.info().derived_bytes + 4096
