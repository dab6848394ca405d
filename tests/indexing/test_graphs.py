"""Approximate engines: exact cosines, k neighbours whatever is left out, and files that are whole or built again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.errors import ConfigError
from eml.indexing import changes, embedding_rows, graphs, segment_files
from eml.indexing.graphs import ENGINES, SegmentGraphs, graph_search, read_graph
from eml.indexing.store import IndexStore
from eml.indexing.view import ViewGallery
from eml.indexing.view_search import query_rows, search_view
from eml.indexing.where import parse_where

SIZE, ROWS = 16, 600
DERIVED = "derived"


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make segments of few rows, of which all but the last of an index here have graphs."""
    for module in (segment_files, changes, embedding_rows):
        monkeypatch.setattr(module, "SEGMENT_ROWS", 256)
    monkeypatch.setattr(segment_files, "BLOCK_ROWS", 64)
    monkeypatch.setattr(graphs, "GRAPH_ROWS", 100)


@pytest.fixture(params=[*ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def images(count: int, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Return embeddings around forty centres, and rows."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 40, count)
    centres = np.random.default_rng(1).standard_normal((40, SIZE))
    vectors = (centres[labels] + 0.4 * random.standard_normal((count, SIZE))).astype(np.float32)
    return vectors, pd.DataFrame({"label": [f"class {label}" for label in labels], "number": np.arange(count)})


@pytest.fixture(params=["float32", "float16"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> IndexStore:
    lines: list[str] = []
    store = IndexStore.create(tmp_path / "i", size=SIZE, storage=request.param, report=lines.append)
    store.lines = lines
    store.add(*images(ROWS))
    return store


def files(store: IndexStore) -> list[Path]:
    return sorted(path for path in (store.folder / DERIVED).iterdir() if not path.name.endswith(".seg"))


def recall(store: IndexStore, engine: str, queries: np.ndarray, k: int, where: str | None = None) -> float:
    """Return the recall of an engine, after a check that what it finds has the cosines of exact search."""
    condition = parse_where(where, store.columns) if where else None
    exact = store.search(queries, k, condition)
    answer = store.search(queries, k, condition, engine)
    hits = []
    for row in range(len(queries)):
        cosines = dict(zip(exact.ids[row].tolist(), exact.cosines[row].tolist(), strict=True))
        own = dict(zip(answer.ids[row].tolist(), answer.cosines[row].tolist(), strict=True))
        assert (answer.ids[row] == -1).sum() == (exact.ids[row] == -1).sum()
        assert all(own[number] == cosines[number] for number in own.keys() & cosines.keys())
        assert (np.diff(answer.cosines[row][answer.ids[row] != -1]) <= 0).all()
        hits.append(len(own.keys() & cosines.keys()) / len(cosines))
    return float(np.mean(hits))


def test_an_engine_finds_nearly_all_neighbours_with_their_exact_cosines(store: IndexStore, engine: str) -> None:
    queries, _ = images(30, seed=5)
    assert recall(store, engine, queries, 10) > 0.98
    assert recall(store, engine, queries[:1], 1) == 1
    assert [path.name for path in files(store)] == [f"segment-00000001-000{n}.seg.{engine}" for n in range(2)]


def test_an_engine_gives_k_neighbours_of_what_is_left_and_of_what_fits_a_condition(
    store: IndexStore, engine: str
) -> None:
    queries, _ = images(20, seed=5)
    store.search(queries, 1, engine=engine)
    store.remove(where=parse_where("number < 100 or label in ('class 1', 'class 2')", store.columns))
    gone = set(range(1, 101))
    assert not gone.intersection(store.search(queries, 10, engine=engine).ids.flatten().tolist())
    for condition in (None, "number >= 300", "label == 'class 7'", "number < 110", "number in (300, 301)", "id < 0"):
        assert recall(store, engine, queries, 10, condition) > 0.95
    assert recall(store, engine, queries[:2], ROWS + 1) == 1
    assert recall(store, engine, queries[:2], 450) == 1


def test_where_graphs_propose_too_few_images_all_are_compared(tmp_path: Path) -> None:
    class Blind:
        def search(self, queries: np.ndarray, count: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((len(queries), count), -np.inf, np.float32), np.full((len(queries), count), -1)

    store = IndexStore.create(tmp_path / "i", size=SIZE)
    store.add(*images(ROWS))
    queries, view = images(5, seed=5)[0], store._view(None)
    answer = search_view(view, query_rows(queries, SIZE), 10, [Blind(), Blind(), None])
    assert (answer.ids == store.search(queries, 10).ids).all()
    gallery = ViewGallery(view, SIZE)
    values, rows = graph_search(gallery, [Blind()] * 3, 10).select(torch.zeros(2, SIZE, dtype=torch.float64), 5)
    assert values.shape == rows.shape == (2, 5)


def test_a_graph_with_any_byte_changed_is_built_again(tmp_path: Path, engine: str) -> None:
    lines: list[str] = []
    store = IndexStore.create(tmp_path / "i", size=SIZE, report=lines.append)
    store.add(*images(200))
    queries = images(3, seed=5)[0]
    ids = store.search(queries, 5, engine=engine).ids
    (path,) = files(store)
    data, random = path.read_bytes(), np.random.default_rng(0)
    places = [*range(24), *random.integers(0, len(data), 60).tolist(), len(data) - 1]
    damaged = [data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :] for place in places]
    damaged += [b"", data[:20], data[:-1], data + b"0", bytes(len(data))]
    (segment,) = store._view(None).segments
    for changed in damaged:
        path.write_bytes(changed)
        assert read_graph(store.folder, segment, ENGINES[engine]()) is None
    for changed in (damaged[60], b""):
        path.write_bytes(changed)
        lines.clear()
        with IndexStore.open(store.folder, report=lines.append) as reader:
            assert (reader.search(queries, 5, engine=engine).ids == ids).all()
        assert len(lines) == 1
        assert lines[0].endswith(f"building the graph of {engine} for images 1 to 200")
    lines.clear()
    with IndexStore.open(store.folder, report=lines.append) as reader:
        reader.search(queries, 5, engine=engine)
    assert not lines


def test_verify_names_a_changed_graph_and_repair_deletes_it(tmp_path: Path, engine: str) -> None:
    store = IndexStore.create(tmp_path / "i", size=SIZE)
    store.add(images(200)[0])
    ids = store.search(images(3)[0], 5, engine=engine).ids
    (path,) = files(store)
    assert not store.verify()
    data = path.read_bytes()
    path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    (problem,) = store.verify()
    assert (problem.code, problem.place) == ("damaged-file", f"{DERIVED}/{path.name}")
    assert [problem.is_repaired for problem in store.verify(repair=True)] == [True]
    assert not files(store)
    assert not store.verify()
    with IndexStore.open(store.folder) as reader:
        assert (reader.search(images(3)[0], 5, engine=engine).ids == ids).all()


def test_a_graph_of_other_embeddings_is_built_again(tmp_path: Path, engine: str) -> None:
    lines: list[str] = []
    stores = [IndexStore.create(tmp_path / name, size=SIZE, report=lines.append) for name in "ab"]
    for seed, store in enumerate(stores):
        store.add(images(200, seed)[0])
        store.search(images(1)[0], 1, engine=engine)
    files(stores[1])[0].write_bytes(files(stores[0])[0].read_bytes())
    assert len(lines) == 2
    with IndexStore.open(tmp_path / "b", report=lines.append) as reader:
        reader.search(images(1)[0], 1, engine=engine)
    assert len(lines) == 3


def test_the_graph_of_a_segment_goes_with_it(tmp_path: Path, engine: str) -> None:
    store = IndexStore.create(tmp_path / "i", size=SIZE)
    store.add(images(120)[0])
    store.search(images(1)[0], 1, engine=engine)
    assert len(files(store)) == 1
    store.add(images(120, seed=3)[0])  # writes the segment again
    store.add(images(120, seed=4)[0])
    assert not files(store)


def test_a_graph_that_cannot_be_kept_answers_and_is_told(tmp_path: Path, engine: str) -> None:
    lines: list[str] = []
    store = IndexStore.create(tmp_path / "i", size=SIZE, report=lines.append)
    store.add(images(200)[0])
    with store.snapshot():  # in which nothing is written
        store.search(images(1)[0], 1, engine=engine)
    assert not files(store)
    store.graphs = SegmentGraphs(store.database)
    store.database.refusal = "the folder is not writable"
    assert store.search(images(1)[0], 1, engine=engine).ids.shape == (1, 1)
    assert not files(store)
    assert "is not kept" in lines[-1]


@pytest.mark.parametrize("name", [*ENGINES])
def test_an_engine_that_is_not_installed_says_which_extra_has_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = IndexStore.create(tmp_path / "i", size=SIZE)
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ConfigError) as caught:
        store.search(images(1)[0], 1, engine=name)
    assert caught.value.code == "missing-package"
    assert f"pip install 'easy-metric-learning[{name}]'" in str(caught.value)
