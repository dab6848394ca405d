import pytest

from eml.errors import DataError
from eml.storage import RemotePath, list_objects
from eml.storage.listing import FRESH, known_info, names_in, states_of
from tests.storage.stores import faulty_store

ROOT = RemotePath("memory://photos")


def test_all_objects_below_a_folder_are_listed_with_sizes_in_the_order_of_names() -> None:
    with faulty_store() as store:
        for name in ("b/2.jpg", "a/1.jpg", "a/deep/3.jpg"):
            store.pipe(f"/photos/{name}", b"12345")
        store.pipe("/photos-of-others/a.jpg", b"1")
        objects = list_objects(ROOT)
        files = {name: info.bytes for name, info in objects.items() if not info.is_folder}
        assert files == {"a/1.jpg": 5, "a/deep/3.jpg": 5, "b/2.jpg": 5}
        assert list(files) == sorted(files)
        assert names_in(ROOT) == ["a", "b"]
        assert [path.name for path in (ROOT / "a").iterdir()] == ["1.jpg", "deep"]
        assert ROOT.is_dir()
        assert (ROOT / "a").is_dir()
        assert (ROOT / "a/1.jpg").is_file()
        assert not (ROOT / "c").exists()
        with pytest.raises(OSError, match="not a folder"):
            names_in(ROOT / "a/1.jpg")


def test_states_come_from_a_listing_of_the_last_minute_else_from_the_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store() as store:
        store.pipe("/photos/a/1.jpg", b"12345")
        assert list(states_of(ROOT, ["a/1.jpg", "a/2.jpg"])) == ["a/1.jpg"]
        list_objects(ROOT)
        store.pipe("/photos/a/2.jpg", b"12345")
        assert list(states_of(ROOT, ["a/1.jpg", "a/2.jpg"])) == ["a/1.jpg"]
        monkeypatch.setattr("eml.storage.listing.FRESH", -FRESH)
        assert list(states_of(ROOT, ["a/1.jpg", "a/2.jpg"])) == ["a/1.jpg", "a/2.jpg"]
        assert (info := known_info(ROOT / "a/1.jpg")) is not None
        assert info.bytes == 5
        assert (asked := known_info(ROOT / "a/2.jpg")) is not None
        assert asked.bytes == 5
        store.rm("/photos/a/1.jpg")
        assert list(states_of(ROOT, ["a/1.jpg"])) == []
        assert known_info(ROOT / "a/1.jpg") is None  # though an older listing has it
        list_objects(ROOT)
        store.rm("/photos/a/2.jpg")
        list_objects(ROOT)
        assert known_info(ROOT / "a/2.jpg") is None  # though it was there when it was asked for


def test_the_folder_of_a_web_server_cannot_be_listed_and_the_error_says_what_to_give() -> None:
    with pytest.raises(DataError, match=r"give it to .*: eml split TABLE --root https://host/photos$") as error:
        list_objects(RemotePath("https://host/photos"))
    assert error.value.code == "not-listed"
