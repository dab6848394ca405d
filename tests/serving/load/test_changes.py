"""An index that another process and the server itself change under load: each answer is of one generation."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eml.indexing.index import Index
from eml.indexing.store import IndexStore
from eml.serving.keys import add_key
from tests.serving.load.server import Server
from tests.serving.load.shop import make_shop
from tests.serving.load.wire import data_uri, json_request, send

pytestmark = [pytest.mark.wide, pytest.mark.slow, pytest.mark.xdist_group("serving")]

CHANGES, READERS = 60, 12
NEW = "a class that comes and goes"


def add_elsewhere(folder: Path, number: int) -> list[int]:
    """Add two drawn embeddings, and return their ids. Runs in another process."""
    with IndexStore.open(folder) as store:
        embeddings = np.random.default_rng(number).normal(size=(2, store.size)).astype(np.float32)
        names = [f"elsewhere/{number}_{place}.jpg" for place in range(2)]
        rows = pd.DataFrame({"file_name": names, "label": "elsewhere", "content": names, "root": ""})
        return [int(id_) for id_ in store.add(embeddings, rows).ids]


def remove_elsewhere(folder: Path, ids: list[int]) -> None:
    """Remove images. Runs in another process."""
    with IndexStore.open(folder) as store:
        store.remove(ids=ids)


class Seen:
    """What the readers saw: the generation of each answer, with the ids of each search and the label of each class."""

    def __init__(self) -> None:
        self.searches: list[tuple[int, list[frozenset[int]], str]] = []
        self.classes: list[tuple[int, str]] = []
        self.problems: list[str] = []
        self.ended = threading.Event()

    def read(self, port: int, mark: bytes, other: bytes, headers: dict[str, str]) -> None:
        """Ask until the end. mark: the image that is added under a label of its own, and removed again."""
        uris = [data_uri(mark), data_uri(other)]
        search = json_request("/v1/search", {"input": uris, "k": 1000}, headers)
        classify = json_request("/v1/classify", {"input": uris[0]}, headers)
        while not self.ended.is_set():
            try:
                answer = send(port, search).json
                ids = [frozenset(image["id"] for image in item["neighbours"]) for item in answer["answers"]]
                self.searches.append((answer["generation"], ids, answer["answers"][0]["neighbours"][0]["label"]))
                answer = send(port, classify).json
                self.classes.append((answer["generation"], answer["answers"][0]["label"]))
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")


def test_each_answer_is_of_one_generation_while_two_processes_change_the_index(tmp_path: Path) -> None:
    shop, folder = make_shop(tmp_path), tmp_path / "shop.index"
    Index.build(folder, shop.model, shop.images, with_model=True).close()
    mark, other = (shop.queries[name] for name in sorted(shop.queries)[:2])
    visible: dict[int, tuple[frozenset[int], bool]] = {}
    seen, keys = Seen(), tmp_path / "keys.json"
    headers = {"X-API-Key": add_key(keys, "writer", ["read", "write"])}
    with (
        Server(folder, tmp_path / "server.log", ["--keys", str(keys)]) as server,
        IndexStore.open(folder) as store,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere,
    ):

        def record() -> None:
            rows = store.rows()
            visible[store.generation] = frozenset(rows["id"]), NEW in set(rows["label"])

        record()
        begin = store.generation
        readers = [threading.Thread(target=seen.read, args=[server.port, mark, other, headers]) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        try:
            for number, change in enumerate(changes(server, elsewhere, folder, mark, headers), 1):
                change()
                record()
                assert store.generation == begin + number, "a change is not one generation"
        finally:
            seen.ended.set()
            for reader in readers:
                reader.join()
    assert not seen.problems, seen.problems[:5]
    assert len({generation for generation, _, _ in seen.searches}) > CHANGES // 6, "the index did not change meanwhile"
    for generation, ids, nearest in seen.searches:
        images, has_mark = visible[generation]
        assert ids == [images, images], f"an answer of generation {generation} shows images of another one"
        assert (nearest == NEW) == has_mark
    for generation, label in seen.classes:
        assert (label == NEW) == visible[generation][1], f"the class of generation {generation} is {label}"


def changes(
    server: Server, elsewhere: ProcessPoolExecutor, folder: Path, mark: bytes, headers: dict[str, str]
) -> list[Callable[[], Any]]:
    """Return the changes: by turns two images of another process, and the marked image by the server itself."""
    ids: list[int] = []

    def ask(path: str, content: dict[str, Any]) -> None:
        reply = send(server.port, json_request(path, content, headers))
        assert reply.status == 200, reply.body

    def add(number: int) -> None:
        ids[:] = elsewhere.submit(add_elsewhere, folder, number).result()

    turns: list[Callable[[int], Any]] = [
        lambda number: ask("/v1/index/add", {"input": [data_uri(mark)], "labels": [NEW], "file_names": ["new.jpg"]}),
        add,
        lambda number: ask("/v1/index/remove", {"labels": [NEW]}),
        lambda number: elsewhere.submit(remove_elsewhere, folder, list(ids)).result(),
    ]
    return [lambda number=number: turns[number % len(turns)](number) for number in range(CHANGES)]  # type: ignore[misc]
