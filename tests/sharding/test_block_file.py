"""A file of blocks: what is whole in it counts, whatever happened to the rest."""

from pathlib import Path

import numpy as np
import pytest

from eml.sharding.block_file import BlockStore, EmbeddedBlock

FACTS = {"torch": "2"}


def block(name: str, rows: int = 3, digest: str = "d") -> EmbeddedBlock:
    random = np.random.default_rng(len(name))
    contents = random.integers(0, 256, (rows, 16), np.uint8)
    return EmbeddedBlock(name, digest, contents, random.random((rows, 4), np.float32), {1: ("empty", "0 bytes")})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = BlockStore(FACTS)
    with store.added_to(tmp_path / "blocks") as writer:
        for name in ("a", "bb", "ccc"):
            writer.add(block(name))
    return tmp_path / "blocks"


def test_blocks_are_read_as_they_were_added(path: Path) -> None:
    store = BlockStore(FACTS)
    assert store.open_file(path) == path.stat().st_size
    for name in ("a", "bb", "ccc"):
        read, added = store.read(name), block(name)
        assert (read.name, read.digest, read.problems) == (name, "d", added.problems)
        assert np.array_equal(read.contents, added.contents)
        assert np.array_equal(read.embeddings, added.embeddings)


@pytest.mark.parametrize("cut", [1, 20, 70, 190])
def test_a_file_that_is_cut_keeps_its_whole_blocks_and_is_gone_on_from(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    store = BlockStore(FACTS)
    with store.added_to(path) as writer:
        missing = [name for name in ("a", "bb", "ccc") if store.digest(name) is None]
        assert missing
        for name in missing:
            writer.add(block(name))
    assert path.read_bytes() == whole


def test_a_damaged_block_and_what_follows_it_count_as_not_done(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = BlockStore(FACTS)
    store.open_file(path)
    assert (store.digest("a"), store.digest("ccc"), len(store)) == ("d", None, 1)


def test_a_file_of_other_versions_is_begun_anew(path: Path) -> None:
    store = BlockStore({"torch": "3"})
    with store.added_to(path) as writer:
        assert len(store) == 0
        writer.add(block("a"))
    assert BlockStore(FACTS).open_file(path) == 0


def test_the_last_block_of_a_name_counts_and_results_are_in_the_order_that_is_asked_for(path: Path) -> None:
    store = BlockStore(FACTS)
    with store.added_to(path) as writer:
        writer.add(block("a", rows=2, digest="new"))
    store.write(path.with_name("result"), ["ccc", "a"])
    result = BlockStore(FACTS)
    result.open_file(path.with_name("result"))
    assert (result.digest("a"), result.read("a").embeddings.shape, len(result)) == ("new", (2, 4), 2)
