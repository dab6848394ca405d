"""A byte that changes anywhere is noticed: an error with a name, a file that is made again, or no difference."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eml
from eml.errors import CheckpointError, DataError, EmlError
from eml.indexing.state import read_fact, write_fact
from eml.indexing.store import IndexStore
from tests.indexing.test_store import Where

SIZE = 16
CODES = {"damaged-index", "not-an-index", "newer-eml", "not-readable", "index-is-locked"}


def make(folder: Path) -> None:
    with IndexStore.create(folder, size=SIZE) as store:
        random = np.random.default_rng(0)
        for first in (0, 300):
            rows = {"file_name": [f"{n}.jpg" for n in range(300)], "label": [f"class {n % 9}" for n in range(300)]}
            contents = [f"{n:032x}" for n in range(first, first + 300)]
            frame = pd.DataFrame(rows | {"content": contents, "price": np.arange(300) / 4})
            store.add(random.normal(size=(300, SIZE)), frame, "keep")
        store.add(random.normal(size=(20, SIZE)))
        store.remove(ids=[5, 6, 310])
        store.calibration = {"threshold": 0.5}


def answers(store: IndexStore) -> Iterator[object]:
    """Yield all that can be asked."""
    queries = np.random.default_rng(1).normal(size=(3, SIZE))
    yield len(store), store.calibration, store.fingerprint, store.columns
    for where in (None, Where('("price" < ?)', (20,))):
        answer = store.search(queries, 30, where)
        yield answer.ids.tolist(), answer.cosines.tolist()
        yield store.labels(answer.ids).tolist()
        yield [(ids.tolist(), vectors.tolist()) for ids, vectors in store.tiles(where)]
    yield store.rows().to_csv()
    yield store.embeddings(store.ids()).tolist()


def ask(folder: Path) -> list[object]:
    """Return all answers; instead of an answer the code of an error."""
    output: list[object] = []
    try:
        with IndexStore.open(folder) as store:
            output += answers(store)
    except EmlError as error:
        output.append(error.code)
    return output


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << place % 8
    path.write_bytes(data)


def check_flips(tmp_path: Path, name: str, count: int) -> dict[str, int]:
    """Flip single bytes of a file; return how many were of no consequence, repaired, and refused."""
    make(tmp_path / "index")
    expected = ask(tmp_path / "index")
    size = (tmp_path / "index" / name).stat().st_size
    outcomes = dict.fromkeys(("same", "repaired", *sorted(CODES)), 0)
    for place in Random(name).sample(range(size), count):
        folder = tmp_path / "flipped"
        shutil.copytree(tmp_path / "index", folder)
        flip(folder / name, place)
        noticed = {problem.code for problem in IndexStore.open(folder).verify()} if name != "index.sqlite" else set()
        output = ask(folder)
        if output == expected:
            outcomes["repaired" if noticed else "same"] += 1
        else:
            assert output[:-1] == expected[: len(output) - 1], (name, place)
            assert output[-1] in CODES, (name, place)
            outcomes[str(output[-1])] += 1
        shutil.rmtree(folder)
    return outcomes


def segments(folder: Path) -> list[str]:
    return sorted(f"derived/{path.name}" for path in (folder / "derived").iterdir())


@pytest.mark.parametrize("number", [None, 0])
def test_a_flipped_byte_changes_no_answer(number, tmp_path) -> None:
    make(tmp_path / "names")
    name = "index.sqlite" if number is None else segments(tmp_path / "names")[number]
    check_flips(tmp_path, name, 4)


def test_the_segments_of_another_index_are_not_taken_for_its_own(tmp_path) -> None:
    random, lines = np.random.default_rng(0), []
    embeddings = {name: random.normal(size=(30, SIZE)) for name in ("own", "other")}
    for name in embeddings:  # of as many images, so that names, sizes and ids are the same
        with IndexStore.create(tmp_path / name, size=SIZE) as store:
            store.add(embeddings[name])
    shutil.rmtree(tmp_path / "own" / "derived")
    shutil.copytree(tmp_path / "other" / "derived", tmp_path / "own" / "derived")
    own = embeddings["own"][6:7]
    with IndexStore.open(tmp_path / "own", report=lines.append) as store:
        assert store.search(own, 1).ids.tolist() == [[7]]
        assert store.search(own, 1).cosines[0, 0] == pytest.approx(1)
        assert len(lines) == 1
        assert "its header has another checksum; it has been made again" in lines[0]
        assert store.verify() == []


def test_a_pipe_in_place_of_a_segment_is_not_waited_for(tmp_path) -> None:
    make(tmp_path / "index")
    expected = ask(tmp_path / "index")
    path = tmp_path / "index" / segments(tmp_path / "index")[0]
    path.unlink()
    os.mkfifo(path)
    assert ask(tmp_path / "index") == expected
    assert not path.exists(), "made again under another name"


FORGED: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a segment outside": ("state", lambda facts: facts["segments"][0].update(name="../../precious.seg")),
    "the database as a segment": ("state", lambda facts: facts["segments"][0].update(name="../index.sqlite")),
    "an absolute name": ("state", lambda facts: facts["segments"][0].update(name="/etc/passwd")),
    "a huge number": ("state", lambda facts: facts["segments"][0].update(last=10**30)),
    "a text as a number": ("state", lambda facts: facts.update(generation="1")),
    "an unknown key": ("state", lambda facts: facts.update(more=1)),
    "a field of SQL": ("state", lambda facts: facts["columns"][0].update(field="(SELECT 1)")),
    "no size": ("index", lambda facts: facts.pop("size")),
    "a huge size": ("index", lambda facts: facts.update(size=10**12)),
    "objects": ("index", lambda facts: facts.update(storage="object")),
}


@pytest.mark.parametrize("case", FORGED)
def test_facts_that_somebody_forged_are_refused_and_nothing_is_deleted(case: str, tmp_path) -> None:
    make(tmp_path / "index")
    (tmp_path / "precious.seg").write_text("precious")
    name, change = FORGED[case]
    with closing(sqlite3.connect(tmp_path / "index" / "index.sqlite")) as connection:
        facts = json.loads(read_fact(connection, name, tmp_path))
        change(facts)
        write_fact(connection, name, json.dumps(facts))
        connection.commit()
    with pytest.raises(DataError, match="damaged") as error, IndexStore.open(tmp_path / "index") as store:
        store.add(np.ones((1, SIZE)))
    assert error.value.code == "damaged-index"
    assert (tmp_path / "precious.seg").read_text() == "precious"
    assert (tmp_path / "index" / "index.sqlite").exists()


FOREIGN = {
    "a view without end": (
        "ALTER TABLE images RENAME TO kept",
        "CREATE VIEW images AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT * FROM kept, c",
    ),
    "facts of a view": ("ALTER TABLE facts RENAME TO kept", "CREATE VIEW facts AS SELECT * FROM kept"),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM images; END",),
    "a virtual table": ("CREATE VIRTUAL TABLE v USING fts5(x)",),
    "another column": ("ALTER TABLE images ADD COLUMN evil AS (zeroblob(1000000))",),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_definitions_that_eml_did_not_write_are_refused(case: str, tmp_path: Path) -> None:
    with IndexStore.create(tmp_path / "index", size=SIZE) as store:
        store.add(np.eye(3, SIZE), pd.DataFrame({"label": ["a", "b", "c"]}))
    with closing(sqlite3.connect(tmp_path / "index" / "index.sqlite", isolation_level=None)) as connection:
        for statement in FOREIGN[case]:
            connection.execute(statement)
    with pytest.raises(DataError, match=r"views, triggers or virtual tables|definitions of its tables") as caught:
        IndexStore.open(tmp_path / "index").rows()
    assert caught.value.code == "damaged-index"


@pytest.mark.wide
def test_100_flipped_bytes_of_each_file(tmp_path) -> None:
    make(tmp_path / "names")
    for number, name in enumerate(["index.sqlite", *segments(tmp_path / "names")]):
        print(name, check_flips(tmp_path / str(number), name, 300 if number == 0 else 100))


def test_a_store_that_does_not_say_its_model_is_an_error_with_advice_and_no_bug(tmp_path: Path) -> None:
    make(tmp_path / "index")
    for call in (lambda: eml.index_info(tmp_path / "index"), lambda: eml.Index.open(tmp_path / "index").fingerprint):
        with pytest.raises(CheckpointError, match=r"does not say which model made its embeddings; build it with eml"):
            call()
