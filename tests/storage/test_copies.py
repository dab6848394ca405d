"""An index at an address is fetched whole, answers as the local one, and is changed nowhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import eml
from eml.errors import ConfigError, DataError, OutputError
from eml.serving.opening import open_served
from eml.storage import RemotePath
from eml.storage.copies import copied_from, local_copy
from tests.indexing.shop import draw, network
from tests.storage.stores import FaultyStore, faulty_store

PLACE = "memory://shop/shop.index"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    eml.Index.build(folder / "shop.index", network(), draw(folder / "photos"), with_model=True).close()
    return folder


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStore]:
    with faulty_store() as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EML_REMOTE_CACHE", str(tmp_path_factory.mktemp("cache")))
        eml.upload(folder / "shop.index", to=PLACE)
        yield store


def test_search_info_and_classify_answer_as_the_local_index(store: FaultyStore, folder: Path) -> None:
    images = sorted((folder / "photos").rglob("1.png"))
    for ask in (eml.search, eml.classify):
        near, far = ask(folder / "shop.index", images, device="cpu"), ask(PLACE, images, device="cpu")
        assert far.to_dict() | {"index": ""} == near.to_dict() | {"index": ""}
    before = store.requests.copy()
    near, far = eml.index_info(folder / "shop.index").to_dict(), eml.index_info(PLACE).to_dict()
    assert (far["folder"], far["images"], far["classes"]) == (PLACE, near["images"], near["classes"])
    assert store.requests - before == {"eml-upload.json": 1}  # the rest was fetched before
    opened = open_served(PLACE, None, "cpu", onnx=None)
    assert opened.index is not None
    assert (opened.name, opened.index.state().images) == ("shop.index", near["images"])
    opened.index.close()


def test_a_remote_index_is_changed_by_no_command_and_not_in_its_copy(store: FaultyStore, folder: Path) -> None:
    for change in (
        lambda: eml.add_to_index(PLACE, folder / "photos"),
        lambda: eml.remove_from_index(PLACE, label=["mug"]),
        lambda: eml.calibrate_index(PLACE),
        lambda: eml.compact_index(PLACE),
    ):
        with pytest.raises(ConfigError, match=f"copy it back: eml upload FOLDER --to {PLACE}") as error:
            change()
        assert error.value.parameter == "index"
    with pytest.raises(ConfigError, match="must be a local folder, in which the index is made; `upload_to` copies it"):
        eml.build_index(PLACE, "timm:test_resnet", folder / "photos", weights="none")
    with pytest.raises(ConfigError, match="`repair` memory://shop"):
        eml.verify_index(PLACE, repair=True)
    assert eml.verify_index(PLACE).sound
    copy = local_copy(PLACE)
    assert (copied_from(copy), copied_from(folder / "shop.index")) == (PLACE, None)
    for place in (PLACE, copy):
        with eml.Index.open(place) as index, pytest.raises(OutputError, match=f"it is a copy of {PLACE}"):
            index.remove(labels=["mug"])


def test_an_address_without_a_whole_copy_is_refused(store: FaultyStore, folder: Path) -> None:
    for name, data in (("index.sqlite", b"x"), ("model.json", b"{}")):
        store.pipe(f"/half/shop.index/{name}", data)
    with pytest.raises(DataError, match=r"has no eml-upload\.json, so it is no whole copy"):
        eml.search("memory://half/shop.index", [folder / "photos" / "mug" / "1.png"])
    with pytest.raises(DataError, match="`index` must not hold credentials") as error:
        eml.Index.open("s3://KEY:SECRET@bucket/shop.index")
    assert "SECRET" not in str(error.value)


def test_a_file_of_a_copy_is_fetched_with_it_and_a_new_version_too(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.npz").write_bytes(b"1")
    eml.upload(tmp_path / "x.npz", to="memory://shop/files")
    first = local_copy("memory://shop/files/x.npz")
    assert first.read_bytes() == b"1"
    (tmp_path / "x.npz").write_bytes(b"2")
    eml.upload(tmp_path / "x.npz", to="memory://shop/files")
    assert local_copy(RemotePath("memory://shop/files/x.npz")).read_bytes() == b"2"
    assert first.read_bytes() == b"1"
    with pytest.raises(DataError, match=r"y\.npz: nothing is there"):
        local_copy("memory://shop/files/y.npz")
    assert local_copy(tmp_path / "x.npz") == tmp_path / "x.npz"


def test_evaluate_takes_a_checkpoint_and_a_table_at_an_address(
    store: FaultyStore, folder: Path, tmp_path: Path
) -> None:
    for path in (folder / "photos").rglob("*.png"):
        store.pipe(f"/shop/photos/{path.relative_to(folder / 'photos').as_posix()}", path.read_bytes())
    eml.scan("memory://shop/photos", out=tmp_path / "far")
    eml.scan(folder / "photos", out=tmp_path / "near")
    eml.upload(tmp_path / "far", to="memory://shop/tables")
    eml.upload(folder / "shop.index" / "model", to="memory://shop/model")
    options: dict[str, Any] = {"device": "cpu", "report": False}
    local_table = tmp_path / "near/dataset_info.csv"
    near = eml.evaluate(folder / "shop.index/model", data=local_table, out=tmp_path / "1", **options)
    options |= {"data": "memory://shop/tables/dataset_info.csv", "root": "memory://shop/photos"}
    far = eml.evaluate("memory://shop/model", out=tmp_path / "2", **options)
    assert far.results[0].metrics == near.results[0].metrics
    assert far.results[0].model == "memory://shop/model"
    with pytest.raises(ConfigError, match="memory://shop/model has no run folder to write into; give a folder"):
        eml.evaluate("memory://shop/model", **options)
    eml.export("memory://shop/model", tmp_path / "far.safetensors", prove_images=0)
    eml.export(folder / "shop.index/model", tmp_path / "near.safetensors", prove_images=0)
    assert load_file(tmp_path / "far.safetensors").keys() == load_file(tmp_path / "near.safetensors").keys()
    with pytest.raises(ConfigError, match="is at an address, where no threshold is kept; copy the folder to a local"):
        eml.calibrate("memory://shop/model", data=local_table, far=0.1)
