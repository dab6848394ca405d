"""What an interrupted work has computed is found again, and damage is never taken for an embedding."""

from pathlib import Path

import numpy as np
import pytest

from eml.errors import OutputError
from eml.inference.embedding_store import KEY_BYTES, EmbeddingStore, Key, key_of


def key(number: int) -> Key:
    return key_of(bytes([number]) * 16)


def rows(*numbers: int) -> np.ndarray:
    return np.array([[number, 0.5, -number] for number in numbers], np.float32)


def test_embeddings_are_taken_in_any_order_from_memory_and_from_the_file(tmp_path: Path) -> None:
    store = EmbeddingStore("a" * 32, 3)
    store.add([key(9)], rows(9))
    with store.kept_in(tmp_path / "x"):
        store.add([key(1), key(2), key(3)], rows(1, 2, 3), np.array([True, False, True]))
        store.add([key(4)], rows(4))
        assert store.take([key(4), key(1), key(9), key(3), key(1)]).numpy().tolist() == rows(4, 1, 9, 3, 1).tolist()
        assert store.take([]).shape == (0, 3)
        assert key(2) not in store
        assert store.failed == {key(2)}
    again = EmbeddingStore("a" * 32, 3)
    with again.kept_in(tmp_path / "x"):
        assert (len(again), again.failed) == (3, {key(2)})
        assert again.take([key(3), key(4)]).numpy().tolist() == rows(3, 4).tolist()
        again.add([key(2)], rows(2))
        assert not again.failed


def test_a_box_has_another_key_than_the_whole_image() -> None:
    keys = {key_of(bytes(16)), key_of(bytes(16), (0, 0, 5, 5)), key_of(bytes(16), (0, 0, 5, 6))}
    assert [len(one) for one in keys] == [KEY_BYTES] * 3


def test_a_file_that_is_cut_or_changed_anywhere_gives_no_wrong_embedding(tmp_path: Path) -> None:
    path, expected = tmp_path / "x", rows(*range(12))
    with EmbeddingStore("a" * 32, 3).kept_in(path) as store:
        for first in range(0, 12, 4):
            store.add([key(number) for number in range(first, first + 4)], expected[first : first + 4])
    whole, told = path.read_bytes(), list[str]()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    for data in [whole[:end] for end in range(0, len(whole), 11)] + flipped:
        path.write_bytes(data)
        damaged = EmbeddingStore("a" * 32, 3)
        with damaged.kept_in(path, told.append):
            kept = [number for number in range(12) if key(number) in damaged]
            assert len(kept) < 12
            assert np.array_equal(damaged.take([key(number) for number in kept]).numpy(), expected[kept])
            damaged.add([key(40)], rows(40))
        after = EmbeddingStore("a" * 32, 3)
        with after.kept_in(path):
            assert len(after) == len(kept) + 1
    assert f"{path} is cut or damaged after 8 images; the others are embedded again" in told


@pytest.mark.parametrize("digest, size", [("b" * 32, 3), ("a" * 32, 4)])
def test_another_model_begins_anew(tmp_path: Path, digest: str, size: int) -> None:
    with EmbeddingStore("a" * 32, 3).kept_in(tmp_path / "x") as store:
        store.add([key(1)], rows(1))
    told = list[str]()
    with EmbeddingStore(digest, size).kept_in(tmp_path / "x", told.append) as store:
        assert len(store) == 0
    assert told == [f"{tmp_path / 'x'} is of another model, or damaged; all images are embedded anew"]


def test_two_processes_do_not_write_one_file_and_a_folder_is_none(tmp_path: Path) -> None:
    with EmbeddingStore("a" * 32, 3).kept_in(tmp_path / "x"):
        second = EmbeddingStore("a" * 32, 3).kept_in(tmp_path / "x")
        with pytest.raises(OutputError, match="another process is writing it") as caught, second:
            pass
        assert (caught.value.code, caught.value.parameter) == ("being-written", "out")
    with EmbeddingStore("a" * 32, 3).kept_in(tmp_path / "x"):
        pass
    (tmp_path / "folder").mkdir()
    no_file = EmbeddingStore("a" * 32, 3).kept_in(tmp_path / "folder")
    with pytest.raises(OutputError, match="cannot be written"), no_file:
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x"]
