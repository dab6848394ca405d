"""The steps of the way on images and tables in a remote place, beside the same on local ones."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eml
from eml.errors import CheckpointError, ConfigError, DataError, OutputError
from eml.indexing.rows import rows_of
from eml.indexing.store import IndexStore
from tests.dataset.scanning.test_remote_entries import FILES, fill
from tests.storage.stores import FaultyStore, faulty_store

PHOTOS = "memory://photos"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStore]:
    with faulty_store() as store:
        fill(store, tmp_path_factory.mktemp("local") / "photos")
        yield store


@pytest.fixture(scope="module")
def scanned(store: FaultyStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    eml.scan(PHOTOS, out=folder)
    return folder


def test_a_remote_folder_goes_through_the_steps_and_its_tables_know_where_the_images_are(scanned: Path) -> None:
    assert json.loads((scanned / "dataset_info.csv.eml.json").read_text())["root"] == PHOTOS
    filtered = eml.filter(scanned / "dataset_info.csv", dedup=True)
    assert f"images: those of {PHOTOS}" in filtered.messages
    table = eml.split(scanned / "dataset_info_filtered.csv", by="ratio", test_ratio=0.5).written[0]
    assert json.loads(table.with_name(f"{table.name}.eml.json").read_text())["root"] == PHOTOS


def test_a_table_in_a_remote_place_is_read_with_its_sidecar(store: FaultyStore, scanned: Path, tmp_path: Path) -> None:
    for name in ("dataset_info.csv", "dataset_info.csv.eml.json"):
        store.pipe(f"/photos/tables/{name}", (scanned / name).read_bytes())
    eml.filter(f"{PHOTOS}/tables/dataset_info.csv", min_per_class=2, out=tmp_path)
    assert (tmp_path / "dataset_info_filtered.csv").read_text().count("\n") == len(FILES) + 1
    store.rm("/photos/tables", recursive=True)


def test_a_rescan_reads_what_changed_alone(store: FaultyStore, tmp_path: Path) -> None:
    for file in store.store.values():
        file.created = file.created.replace(year=2020)
    eml.scan(PHOTOS, out=tmp_path)
    store.requests.clear()
    store.pipe("/photos/b/0.png", FILES["a/2.png"])
    result = eml.scan(PHOTOS, out=tmp_path)
    assert set(store.requests) == {"0.png"}
    assert result.scan.cached_files == len(FILES) + 1
    store.pipe("/photos/b/0.png", FILES["b/0.png"])


def test_a_recorded_address_that_came_with_a_table_from_elsewhere_is_not_asked(scanned: Path, tmp_path: Path) -> None:
    for name in ("dataset_info.csv", "dataset_info.csv.eml.json"):
        shutil.copy(scanned / name, tmp_path / name)
    sidecar = tmp_path / "dataset_info.csv.eml.json"
    sidecar.write_text(sidecar.read_text().replace(PHOTOS, "https://169.254.169.254/latest"))
    with pytest.raises(DataError, match=r"says that the images are at https://169\.254\.169\.254/latest") as error:
        eml.filter(tmp_path / "dataset_info.csv", min_per_class=2)
    assert error.value.code == "root-not-trusted"
    facts = json.loads(sidecar.read_text())
    facts["root"], facts["inputs"] = ".", [{"path": "https://169.254.169.254/input.csv", "digest": "0" * 32}]
    sidecar.write_text(json.dumps(facts))
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    eml.filter(tmp_path / "dataset_info.csv", min_per_class=2)


def test_without_a_local_folder_the_error_has_the_command_to_run(store: FaultyStore) -> None:
    with pytest.raises(OutputError, match=f"Run: eml scan {PHOTOS} --out photos") as error:
        eml.scan(PHOTOS)
    assert (error.value.code, error.value.parameter) == ("remote-place", "out")
    with pytest.raises(OutputError, match="results are written into local folders"):
        eml.scan(PHOTOS, out="memory://tables")


def test_a_model_at_an_address_is_fetched_whole_or_not_at_all(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"nothing is there, and no eml-upload\.json in it, so it is no whole copy"):
        eml.load("memory://nowhere/gone/runs")
    with pytest.raises(DataError, match=r"a: has no eml-upload\.json, so it is no whole copy"):
        eml.load(f"{PHOTOS}/a")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("no checkpoint")
    eml.upload(tmp_path / "run", to="memory://copies/run")
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/cache/copies/\w+/run is neither a checkpoint nor a run"):
        eml.load("memory://copies/run")
    with pytest.raises(CheckpointError, match="must not hold credentials") as error:
        eml.load("s3://KEY:SECRET@bucket/run")
    assert "SECRET" not in str(error.value)


def test_an_index_of_images_at_an_address_names_them_by_it_and_one_from_elsewhere_has_none_read(
    store: FaultyStore, tmp_path: Path
) -> None:
    built = eml.build_index(tmp_path / "photos.index", "timm:test_resnet", PHOTOS, weights="none", device="cpu")
    query = f"{PHOTOS}/{min(FILES)}"
    assert built.next_command == f"eml search {tmp_path}/photos.index {query}"
    with IndexStore.open(tmp_path / "photos.index") as index:
        (row,) = rows_of(index, np.array([1])).values()
    assert str(row.place.path) == query
    (tmp_path / "photos.index").rename(tmp_path / "copy.index")
    with IndexStore.open(tmp_path / "copy.index") as index:
        (row,) = rows_of(index, np.array([1])).values()
    assert row.place.path is None


def test_a_secret_in_an_address_is_refused_and_not_repeated() -> None:
    for address in ("s3://KEY:SECRET@bucket/photos", "https://host/t.csv?X-Amz-Signature=SECRET"):
        with pytest.raises(ConfigError) as error:
            eml.scan(address, out="tables")
        assert "SECRET" not in str(error.value)
        assert "`dataset` must not h" in str(error.value)
