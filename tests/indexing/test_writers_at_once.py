"""Several writers and readers at once: nothing is lost, and each answer is that of one generation."""

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.indexing import changes, embedding_rows, segment_files
from eml.indexing.store import IndexStore
from tests.indexing.test_store import Where

SIZE = 8
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


def vector_of(writer: int, number: int) -> np.ndarray:
    vector = np.random.default_rng([writer, number]).normal(size=SIZE)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def write(folder: Path, writer: int, seconds: float) -> int:
    """Add, remove and compact until the time is over, and check what is the writer's own; return the changes."""
    random, own, number, count = np.random.default_rng(writer), {}, 0, 0
    with IndexStore.open(folder) as store:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count += 1
            action = random.random()
            if action < 0.6 or len(own) < 5:
                numbers = range(number, number + int(random.integers(1, 12)))
                number = numbers.stop
                rows = pd.DataFrame({"label": f"writer {writer}", "number": numbers})
                ids = store.add(np.array([vector_of(writer, n) for n in numbers]), rows).ids
                own |= dict(zip(ids.tolist(), numbers, strict=True))
            elif action < 0.95:
                gone = random.permutation(list(own))[:4].tolist()
                assert store.remove(ids=gone) == len(gone)
                for image in gone:
                    del own[image]
            else:
                store.compact()
            check_own(store, writer, own, random)
    return count


def check_own(store: IndexStore, writer: int, own: dict[int, int], random: np.random.Generator) -> None:
    """Check that exactly a writer's own images are there, and that one of them is found."""
    mine = Where('("label" = ?)', (f"writer {writer}",))
    assert store.ids(mine).tolist() == sorted(own)
    image = int(random.permutation(list(own))[0])
    answer = store.search(vector_of(writer, own[image])[None], 1)
    assert answer.ids.tolist() == [[image]]
    assert answer.cosines[0, 0] == pytest.approx(1, abs=1e-6)


def read(folder: Path, reader: int, seconds: float) -> int:
    """Compare answers with those of a matrix at the same moment until the time is over; return their number."""
    random, count = np.random.default_rng(100 + reader), 0
    with IndexStore.open(folder) as store:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count += 1
            with store.snapshot():
                query = random.normal(size=(1, SIZE)).astype(np.float32)
                answer = store.search(query, 5)
                ids = store.ids()
                vectors = store.embeddings(ids)
                rows = store.rows(ids)
            if not len(ids):  # of an index that nobody has written to yet, which has no columns either
                assert (answer.ids == -1).all()
                continue
            expected = [
                vector_of(int(label.split()[1]), int(number))
                for label, number in zip(rows["label"], rows["number"], strict=True)
            ]
            assert np.abs(vectors - np.array(expected).reshape(vectors.shape)).max(initial=0) < 1e-6
            cosines = vectors.astype(np.float64) @ (query[0] / np.linalg.norm(query[0]))
            order = np.lexsort((ids, -cosines))[:5]
            assert answer.ids[0, : len(order)].tolist() == ids[order].tolist()
    return count


def in_child(function: Callable[[], int]) -> tuple[int, int]:
    """Run a function in a child; return its process and the pipe that gives what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        os.write(writing, str(function()).encode())
    except BaseException:
        os.write(writing, traceback.format_exc().encode()[-3000:])
    finally:
        os._exit(0)


def run_at_once(folder: Path, writers: int, readers: int, seconds: float) -> tuple[int, int]:
    """Run writers and readers at once; return the changes and the answers."""
    IndexStore.create(folder, size=SIZE).close()
    children = [in_child(lambda writer=writer: write(folder, writer, seconds)) for writer in range(writers)]
    children += [in_child(lambda reader=reader: read(folder, reader, seconds)) for reader in range(readers)]
    outputs = []
    for child, pipe in children:
        os.waitpid(child, 0)
        with open(pipe, encoding="utf-8") as file:  # noqa: PTH123 - a file descriptor
            outputs.append(file.read())
    assert all(output.isdigit() for output in outputs), "\n".join(o for o in outputs if not o.isdigit())
    with IndexStore.open(folder) as store:
        assert store.verify() == []
    counts = list(map(int, outputs))
    return sum(counts[:writers]), sum(counts[writers:])


def test_writers_and_readers_at_once(tmp_path, monkeypatch) -> None:
    for module in (segment_files, changes, embedding_rows):
        monkeypatch.setattr(module, "SEGMENT_ROWS", 64)
    changed, answered = run_at_once(tmp_path / "index", 2, 2, 0.5)
    assert changed > 1
    assert answered > 1


@pytest.mark.wide
def test_4_writers_and_8_readers_for_a_minute(tmp_path, monkeypatch) -> None:
    for module in (segment_files, changes, embedding_rows):
        monkeypatch.setattr(module, "SEGMENT_ROWS", 64)
    print(run_at_once(tmp_path / "index", 4, 8, 60))
