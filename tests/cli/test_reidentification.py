"""Persons, who are twice as high as wide, the whole way as a user types it: no command makes squares of them."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eml
from eml.cli.app import main
from eml.images.cache import caches
from eml.models.checkpoint import SHAPE_FORMAT
from eml.models.pointers import find_checkpoint
from tests.drawn_persons import draw_folders, draw_market

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reidentification")]

SMALL = "--backbone test_resnet --weights none"
KEYS = ("epochs=1", "stages=none", "batch_size=12", "data.cache=raw", "image.size=64x32")
OWN = " ".join(f"--set {key}" for key in KEYS)


def run(line: str) -> None:
    assert main(shlex.split(line)) == 0, line


@pytest.fixture(scope="module")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on which every command was run once; persons/run is the run, persons/index the index."""
    persons = draw_folders(tmp_path_factory.mktemp("way") / "persons", identities=9, height=64)
    for line in (
        f"scan {persons}",
        f"split {persons} --by ratio --test-ratio 0.3 --no-near",
        f"kfold {persons} --k 2 --no-near",
        f"init {persons} {SMALL}",
        f"train {persons}/config.yaml {OWN}",
        f"evaluate {persons}/run --data {persons}/dataset_test.csv",
        f"index build {persons}/index {persons}/run {persons}/dataset_train.csv --with-model",
    ):
        run(line)
    return persons


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_init_chooses_the_shape_of_the_images(persons: Path) -> None:
    assert "\n  size: [128, 64]\n" in (persons / "config.yaml").read_text()


def test_the_run_its_caches_and_its_checkpoint_have_height_and_width(persons: Path) -> None:
    assert "\n  size: [64, 32]\n" in (persons / "run" / "config.yaml").read_text()
    texts = sorted(text for text, _ in caches(persons / ".eml_cache").values())
    assert texts == ["fitted images, 64×32, squash, bilinear, raw", "images, 77×39, bilinear, raw"]
    config = read(find_checkpoint(persons / "run") / "config.json")
    assert config["format"] == SHAPE_FORMAT
    assert config["preprocess"]["size"] == [64, 32]
    metrics = read(persons / "run" / "evaluations" / "dataset_test" / "metrics.json")
    assert metrics["image_size"] == metrics["preprocess"]["size"] == [64, 32]


def test_an_index_carries_the_size_and_answers(persons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"index info {persons}/index")
    assert "test_resnet, 64×32 px" in capsys.readouterr().out
    (query,) = [name for name in sorted((persons / "0002").iterdir()) if "_c1s1_000000" in name.name]
    answers = eml.search(persons / "index", query, k=3).to_dict()
    assert len(answers["results"][0]["neighbours"]) == 3
    run(f"classify {persons}/index {persons}/0003 --out {persons}/answers.csv")


def test_embeddings_are_those_of_the_network_at_its_size_or_at_another(persons: Path) -> None:
    run(f"embed {persons}/run {persons}/0002 --out {persons}/embeddings.npz")
    model = eml.load(persons / "run", device="cpu")
    assert "64×32 pixels" in repr(model)
    assert model.preprocess.size == (64, 32)
    names = sorted(map(str, (persons / "0002").iterdir()))
    stored = np.load(persons / "embeddings.npz")["embeddings"]
    np.testing.assert_allclose(stored, model.embed(names), atol=1e-6)
    larger = eml.load(persons / "run", image_size="96x48", device="cpu")
    assert larger.preprocess.size == (96, 48)
    assert larger.fingerprint.difference_from(model.fingerprint) == "preprocess.size 96×48, not 64×32"
    assert abs(larger.embed(names) - stored).max() > 1e-3


def test_a_run_is_shown_at_its_size(persons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = f"{persons}/run/config.yaml --set output={persons}/next"
    run(f"train {own} --dry-run")
    assert "64×32 pixels" in capsys.readouterr().out
    run(f"report {persons}/run --out {persons}/run.html --overwrite")
    assert "64×32" in (persons / "run.html").read_text()
    run(f"cache {persons}/run/config.yaml")
    assert "9" in capsys.readouterr().out


def test_what_is_no_size_is_told_in_the_words_of_the_command_line(
    persons: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for size, text in (
        ("256", ""),
        ("tall", "--image-size must be a side, such as 160, or height and width, such as 256x128 (pixels), got 'tall'"),
        ("4x128", "--image-size must be greater than or equal to 8, got '4x128'"),
    ):
        code = main(shlex.split(f"embed {persons}/run {persons}/0002 --out {persons}/x{size}.npz --image-size {size}"))
        assert (code == 0) == (not text)
        assert text in " ".join(capsys.readouterr().err.split())


@pytest.mark.wide
def test_market_1501s_way_at_256_by_128(tmp_path: Path) -> None:
    """By the protocol: queries are searched in the images of other cameras."""
    root = draw_market(tmp_path / "market", train=16, test=10, cameras=2, per_camera=3)
    test = tmp_path / "dataset_test.csv"
    for line in (
        f"protocol market1501 {root} --out {tmp_path}",
        f"kfold {tmp_path}/dataset_train.csv --k 2 --no-near",
        f"init {tmp_path}/folds.csv {SMALL} --overwrite",
        f"cache {tmp_path}/config.yaml --set image.size=256x128 --set data.cache=raw",
        f"train {tmp_path}/config.yaml --set image.size=256x128 --set data.cache=raw --set epochs=1 --set stages=none",
        f"evaluate {tmp_path}/run --data {test}",
        f"index build {tmp_path}/index {tmp_path}/run {test} --with-model",
        f"index export {tmp_path}/index {tmp_path}/export.npz",
        f"embed {tmp_path}/run {test} --out {tmp_path}/embeddings.npz",
        f"search {tmp_path}/index {root}/query --csv {tmp_path}/found.csv",
        f"classify {tmp_path}/index {root}/query --out {tmp_path}/answers.csv",
    ):
        run(line)
    assert "\n  size: [256, 128]\n" in (tmp_path / "run" / "config.yaml").read_text()
    texts = sorted(text.split(", b")[0] for text, _ in caches(root / ".eml_cache").values())
    assert texts == ["fitted images, 256×128, squash", "images, 306×153"]
    metrics = read(tmp_path / "run" / "evaluations" / "dataset_test" / "metrics.json")
    assert metrics["image_size"] == [256, 128]
    assert "camera" in json.dumps({key: value for key, value in metrics.items() if key != "checkpoint"})
    assert metrics["queries"] == 10 * 2
    exported, embedded = (np.load(tmp_path / name)["embeddings"] for name in ("export.npz", "embeddings.npz"))
    assert exported.shape == embedded.shape
    assert "[256,128]" in json.dumps(dict(eml.load(tmp_path / "index" / "model").preprocess), separators=(",", ":"))
