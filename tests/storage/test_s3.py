"""S3's own semantics, by moto's server in this process and s3fs: the whole way, and faults of the server."""

import filecmp
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from eml.storage import RemotePath, file_systems, listing, object_blocks, retries
from eml.storage.failures import ReplacedObjectError
from eml.storage.object_blocks import ObjectBlocks
from eml.storage.objects import ObjectInfo

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("default"), pytest.mark.xdist_group("s3")]
BUCKET = "photos"
CLASSES, EACH = 9, 5


class FaultyServer:
    """Moto's server behind a layer that refuses some requests, cuts some answers, and counts all.

    Args:
        application: The server's WSGI application.
    """

    def __init__(self, application: Any) -> None:
        self.application, self.rate = application, 0
        self.counts: Counter[str] = Counter()
        self.gone: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        name = environ["PATH_INFO"].rpartition("/")[2]
        is_read = environ["REQUEST_METHOD"] == "GET" and name.endswith((".png", ".tar", ".parquet"))
        with self._lock:
            self.counts["all"] += 1
            number = self.counts["all"]
            self.counts["reads"] += is_read
        if is_read and name in self.gone:
            start_response("404 Not Found", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"]
        if self.rate and number % self.rate == 0:
            self.counts["refused"] += 1
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"]
        body = self.application(environ, start_response)
        if self.rate and is_read and number % self.rate == 1:
            self.counts["cut"] += 1
            data = b"".join(body)
            return [data[: len(data) // 2]]
        return body


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder of images: each class has a colour of its own."""
    root = tmp_path_factory.mktemp("local") / "photos"
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"class {label:02}").mkdir(parents=True)
        base = random.integers(40, 215, 3)
        for number in range(EACH):
            pixels = np.clip(base + random.integers(-40, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class {label:02}" / f"{number}.png")
    (root / "class 00" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def server(photos: Path) -> Iterator[FaultyServer]:
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    faulty = FaultyServer(moto.DomainDispatcherApplication(moto.create_backend_app))
    http = make_server("127.0.0.1", 0, faulty, threaded=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{http.port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
            "AWS_SECRET_ACCESS_KEY": "verySecretVerySecret0000000000000000000000",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        patch.setattr(retries, "POLICY", retries.RetryPolicy(attempts=8, first=0.01, longest=0.05))
        file_systems._opened.clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for path in sorted(photos.rglob("*.png")):
            key = f"data/{path.relative_to(photos).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        yield faulty
    http.shutdown()
    file_systems._opened.clear()
    listing.forget_all()


def way(dataset: str, folder: Path, upload_to: str | None = None) -> Any:
    """Go from a folder of images to a measured model, and return its metrics."""
    eml.scan(dataset, out=folder)
    eml.filter(folder / "dataset_info.csv", dedup=True)
    eml.split(folder / "dataset_info_filtered.csv", by="ratio", test_ratio=0.34)
    eml.kfold(folder / "dataset_train.csv")
    config = folder / "config.yaml"
    eml.init(folder / "folds.csv", backbone="test_vit.r160_in1k", weights="none", out=config)
    sets = ["epochs=1", f"output={folder / 'run'}", "device=cpu", "data.workers=2"]
    eml.train(config, overrides=sets, upload_to=upload_to)
    return eml.evaluate([str(folder / "run")], data=folder / "dataset_test.csv", device="cpu").results[0].metrics


def test_the_way_from_s3_gives_the_tables_and_metrics_of_the_local_folder(
    server: FaultyServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "1GB")
    near, far = tmp_path / "near", tmp_path / "far"
    local = way(str(photos), near)
    server.rate = 10  # each tenth request is refused, and each answer after one is cut
    try:
        remote = way(f"s3://{BUCKET}/data", far, upload_to=f"s3://{BUCKET}/runs/1")
    finally:
        server.rate = 0
    assert server.counts["refused"] > 5
    assert server.counts["cut"] > 0
    names = ("dataset_info", "dataset_errors", "dataset_info_filtered", "dataset_train", "dataset_test", "folds")
    _, different, missing = filecmp.cmpfiles(near, far, [f"{name}.csv" for name in names], shallow=False)
    assert (different, missing) == ([], [])
    assert remote == local
    assert "recall_at_1" in local
    assert filecmp.cmp(near / "run" / "steps.jsonl", far / "run" / "steps.jsonl", shallow=False)
    text = "".join(path.read_text(errors="ignore") for path in far.rglob("*.json"))
    assert "verySecret" not in text
    assert "AKIAEXAMPLE" not in text


def test_vanished_objects_are_listed_and_no_other_is_lost(server: FaultyServer, tmp_path: Path) -> None:
    server.gone = {"3.png"}
    try:
        result = eml.scan(f"s3://{BUCKET}/data", out=tmp_path)
    finally:
        server.gone = set()
    errors = dict(zip(result.scan.errors["file_name"], result.scan.errors["reason"], strict=True))
    assert errors == {"class 00/broken.png": "not_an_image"} | {
        f"class {label:02}/3.png": "missing" for label in range(CLASSES)
    }
    assert result.facts.images == CLASSES * (EACH - 1)
    before = server.counts["reads"]
    assert eml.scan(f"s3://{BUCKET}/data", out=tmp_path).facts.images == CLASSES * EACH
    assert server.counts["reads"] - before == CLASSES  # what was missing is read again, and nothing else


def test_several_worker_processes_give_the_same_table(server: FaultyServer, tmp_path: Path) -> None:
    alone = eml.scan(f"s3://{BUCKET}/data", out=tmp_path / "1", workers=1)
    several = eml.scan(f"s3://{BUCKET}/data", out=tmp_path / "2", workers=2)
    assert several.scan.table.to_csv() == alone.scan.table.to_csv()


@pytest.mark.parametrize("format_", ["tar", "parquet"])
def test_packed_files_at_s3_give_the_tables_and_embeddings_of_the_local_ones(
    format_: Any, server: FaultyServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "1GB")
    monkeypatch.setattr(object_blocks, "BLOCK", 2**14)
    packed, place = tmp_path / "packed", f"s3://{BUCKET}/packed-{format_}"
    eml.pack(photos, packed, format=format_, leave_out=True)
    eml.upload(packed, to=place)
    files = sorted((packed / "data").iterdir())
    tables, metrics = {}, {}
    server.rate = 7
    try:
        for out, source in (("near", str(packed)), ("far", place)):
            folder = tmp_path / out
            before = server.counts["reads"]
            if format_ == "tar":
                metrics[out] = way(source, folder)
            else:
                eml.scan(source, out=folder)
                eml.split(folder / "dataset_info.csv", by="ratio", test_ratio=0.34, near=False)
            eml.embed("timm:test_vit.r160_in1k", folder / "dataset_test.csv", out=folder / "x.npz", weights="none")
            eml.fill_cache(folder / "dataset_test.csv", side=32)
            tables[out] = np.load(folder / "x.npz", allow_pickle=False)
    finally:
        server.rate = 0
    csvs = ["dataset_info.csv", "dataset_train.csv", "dataset_test.csv"]
    _, different, missing = filecmp.cmpfiles(tmp_path / "near", tmp_path / "far", csvs, shallow=False)
    assert (different, missing) == ([], [])
    assert metrics.get("near") == metrics.get("far")
    for name in tables["near"].files:
        np.testing.assert_array_equal(tables["near"][name], tables["far"][name])
    assert server.counts["reads"] - before < CLASSES * EACH  # scan, embedding and cache make fewer than one an image
    data = files[0].read_bytes()
    with pytest.raises(ReplacedObjectError):
        ObjectBlocks(RemotePath(place) / "data" / files[0].name, ObjectInfo(len(data), "etag=0")).read(0, 10)
