import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.dataset.scanning.listing import list_files
from eml.dataset.scanning.scan import scan_folder
from eml.storage import RemotePath
from tests.storage.stores import FaultyStore, faulty_store, refuse, truncate, vanish

ROOT = RemotePath("memory://photos")


def image_bytes(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = {
    f"{label}/{number}.png": image_bytes(10 * place + number) for place, label in enumerate("ab") for number in range(3)
}
OTHERS = {
    "a/.hidden": b"1",
    "a/Thumbs.db": b"1",
    "a/notes.txt": b"no image",
    "a/empty.png": b"",
    "beside.png": FILES["a/0.png"],
    "config.yaml": b"1",
    "eml-upload.json": b"{}",
    "runs/run.json": b"1",
    "runs/config.yaml": b"1",
    "runs/state.pt": b"1",
    "old.csv": b"1",
    "old.csv.eml.json": b"1",
}


def fill(store: FaultyStore, folder: Path) -> None:
    """Write the same files into the store and into a local folder."""
    for name, data in (FILES | OTHERS).items():
        store.pipe(f"/photos/{name}", data)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_a_remote_folder_is_listed_and_scanned_as_the_local_one(tmp_path: Path) -> None:
    with faulty_store() as store:
        fill(store, tmp_path)
        local, remote = list_files(tmp_path), list_files(ROOT)
        assert remote == local
        assert len(remote.files) == len(FILES) + 2
        near, far = scan_folder(tmp_path), scan_folder(ROOT)
        assert far.table.to_csv() == near.table.to_csv()
        assert far.errors.to_csv() == near.errors.to_csv()


def test_faults_of_the_store_lose_no_image_and_what_is_gone_is_listed(tmp_path: Path) -> None:
    with faulty_store() as store:
        fill(store, tmp_path)
        FaultyStore.faults = {"0.png": refuse(2), "1.png": truncate(2), "2.png": vanish, "notes.txt": refuse(99)}
        scan = scan_folder(ROOT)
        assert scan.table["file_name"].tolist() == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
        reasons = dict(zip(scan.errors["file_name"], scan.errors["reason"], strict=True))
        assert reasons == {
            "a/2.png": "missing",
            "a/empty.png": "empty",
            "a/notes.txt": "unreadable",
            "b/2.png": "missing",
            "beside.png": "not_in_a_class",
        }


def test_keys_that_no_path_can_have_are_listed_as_unusable() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a/1.png", FILES["a/0.png"])
        store.store["/photos/a//2.png"] = store.store["/photos/a/1.png"]
        listing = list_files(ROOT)
        assert listing.files == ["a/1.png"]
        assert [(problem.file_name, problem.reason) for problem in listing.problems] == [("a//2.png", "unusable_name")]


@pytest.mark.parametrize("name", ["b/0.png", "b/nothing.png"])
def test_an_image_is_read_by_its_path_in_the_store(name: str, tmp_path: Path) -> None:
    from eml.images.decode import ImageError, has_transparency, shown_size
    from eml.images.source import FileSource

    with faulty_store() as store:
        fill(store, tmp_path)
        source = FileSource(ROOT, [name])
        if name in FILES:
            assert np.asarray(source.whole(0, (5, 5))).shape == (12, 10, 3)
            assert shown_size(ROOT / name) == (10, 12)
            assert not has_transparency(ROOT / name)
        else:
            with pytest.raises(ImageError, match=r"memory://photos/b/nothing\.png: no such file"):
                source.whole(0, (5, 5))
