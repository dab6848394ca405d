"""The versions of remote images are asked for when a command begins to read them, and not for each image."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eml.dataset.table import read_table
from eml.images.decode import read
from eml.images.packed.remote_states import image_states
from eml.images.source import FileSource
from eml.storage import RemotePath, listing
from eml.storage.listing import FRESH, known_info
from tests.packed_files import jpeg, write_tar
from tests.storage.stores import FaultyStore, faulty_store

ROOT = RemotePath("memory://ds")
NAMES = [f"cat/{number}.jpg" for number in range(6)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EML_REMOTE_CACHE_SIZE", raising=False)
    with faulty_store() as store:
        for number, name in enumerate(NAMES):
            store.pipe(f"/ds/{name}", jpeg(number))
        yield store


def test_epochs_ask_for_no_version_again(store: FaultyStore) -> None:
    source = FileSource(ROOT, NAMES)
    for _ in range(3):
        source.fetch(range(6))
        assert [source.data(source.path(row)) for row in range(6)] == [jpeg(number) for number in range(6)]
    assert set(store.asked.values()) == {2}  # by the source, and after the bytes, whether they are of the version
    assert set(store.requests.values()) == {1}


def test_the_files_of_a_table_are_asked_for_once_by_its_check_and_reading(store: FaultyStore, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,label\n" + "".join(f"{name},cat\n" for name in NAMES))
    table = read_table(tmp_path / "t.csv", ROOT, check_files=True)
    source = FileSource(table.root, NAMES)
    assert {store.asked[f"{number}.jpg"] for number in range(6)} == {1}
    assert source.data(source.path(3)) == jpeg(3)


def test_the_next_command_reads_the_new_version(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FileSource(ROOT, NAMES)
    assert source.data(source.path(0)) == jpeg(0)
    store.pipe("/ds/cat/0.jpg", jpeg(9))
    assert source.data(source.path(0)) == jpeg(0)  # as the command found it
    monkeypatch.setattr(listing, "FRESH", -FRESH)
    source = FileSource(ROOT, NAMES)
    assert source.data(source.path(0)) == jpeg(9)
    listing.forget_all()
    store.pipe("/ds/cat/0.jpg", jpeg(7))
    assert read(ROOT / NAMES[0]) == jpeg(7)  # without a command before


def test_states_inside_packed_files_are_of_the_packed_file(store: FaultyStore, tmp_path: Path) -> None:
    store.pipe("/ds/a.tar", write_tar(tmp_path / "a.tar", [("1.jpg", jpeg(1)), ("2.jpg", jpeg(2))]).read_bytes())
    store.pipe("/ds/b.tar/1.jpg", jpeg(1))
    names = ["a.tar/1.jpg", "a.tar/3.jpg", "b.tar/1.jpg", "b.tar/2.jpg", "c.tar/1.jpg", "cat/0.jpg", "cat/9.jpg"]
    states = image_states(ROOT, names)
    assert set(states) == {"a.tar/1.jpg", "b.tar/1.jpg", "cat/0.jpg"}
    assert (info := known_info(ROOT / "a.tar")) is not None
    assert (states["a.tar/1.jpg"].token, states["a.tar/1.jpg"].bytes) == (info.token, -1)
    assert states["b.tar/1.jpg"].bytes == len(jpeg(1))


def test_a_source_asks_for_no_name_that_leads_out_of_its_root(store: FaultyStore) -> None:
    FileSource(ROOT, ["../other/secret.jpg", "/etc/passwd", NAMES[0]])
    assert set(store.asked) == {"0.jpg"}
