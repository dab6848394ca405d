"""Packed files are read with their labels by the libraries whose formats they are, and theirs by eml."""

from pathlib import Path

import pytest

import eml
from tests.packed_files import jpeg, write_files

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore")]  # the libraries' own

FILES = {f"{label}/{number}.jpg": jpeg(40 * number + 7 * row) for row, label in enumerate("abc") for number in range(5)}
LABELS = [name[0] for name in FILES]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_files(tmp_path_factory.mktemp("readers") / "photos", FILES)
    eml.scan(root)
    return root


def test_webdataset_reads_images_labels_and_columns(tmp_path: Path, photos: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    eml.pack(photos, tmp_path / "packed", format="tar")
    shards = [str(path) for path in sorted((tmp_path / "packed" / "data").iterdir())]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg", "cls", "json"))
    assert [facts["label"] for _, _, facts in samples] == LABELS
    assert [number for _, number, _ in samples] == ["abc".index(label) for label in LABELS]
    assert {image.size for image, _, _ in samples} == {(12, 8)}


def test_what_webdataset_writes_is_scanned(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with webdataset.TarWriter(str(tmp_path / "shard-000000.tar")) as writer:
        for number, (name, data) in enumerate(FILES.items()):
            writer.write({"__key__": f"{number:06d}", "jpg": data, "cls": "abc".index(name[0])})
    table = eml.scan(tmp_path).table.frame
    assert table["label"].tolist() == [str("abc".index(label)) for label in LABELS]


def test_datasets_reads_parquet_with_the_names_of_classes(tmp_path: Path, photos: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    eml.pack(photos, tmp_path / "packed")
    files = [str(path) for path in sorted((tmp_path / "packed" / "data").iterdir())]
    cache = str(tmp_path / "cache")
    for rows in (
        datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache),
        datasets.load_dataset(str(tmp_path / "packed"), split="train", cache_dir=cache),
    ):
        assert [rows.features["label"].int2str(row["label"]) for row in rows] == LABELS
        assert rows[0]["image"].size == (12, 8)
    rows.save_to_disk(str(tmp_path / "disk"))
    rows.to_parquet(str(tmp_path / "again" / "data" / "train-00000-of-00001.parquet"))
    expected = eml.scan(photos).table.frame
    for name in ("disk", "again"):
        table = eml.scan(tmp_path / name).table.frame
        assert table["label"].tolist() == LABELS
        assert table["content"].tolist() == expected["content"].tolist()
