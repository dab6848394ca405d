"""`eml evaluate` in shards, in one process: the same metrics for any number, and no image is embedded by merging."""

import json
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.errors import ConfigError
from eml.inference.model import Model

NETWORK: dict[str, Any] = {"weights": "none", "image_size": 32, "report": False}


@pytest.fixture
def table(photos: Path) -> Path:
    (photos / "class 0" / "broken.png").unlink()
    return Path(eml.scan(photos).written[0])


def metrics(out: Path) -> Any:
    return json.loads((out / "dataset_info" / "metrics.json").read_text(encoding="utf-8"))


def test_metrics_are_the_same_for_any_number_of_shards_and_merging_embeds_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.sharding.blocks.cut_blocks.__defaults__", (8,))
    eml.evaluate("timm:test_resnet", data=table, out=tmp_path / "plain", **NETWORK)
    for count in (1, 3):
        for index in range(count):
            out = tmp_path / str(count)
            done = eml.evaluate("timm:test_resnet", data=table, out=out, shards=count, shard=index, **NETWORK)
            assert done.target == out / "dataset_info"
    with monkeypatch.context() as patch:
        patch.setattr(Model, "embed_pixels", None)
        for count in (1, 3):
            eml.merge_shards(tmp_path / str(count))
    assert metrics(tmp_path / "1") == metrics(tmp_path / "3")
    plain, cut = metrics(tmp_path / "plain")["metrics"], metrics(tmp_path / "1")["metrics"]
    assert plain == pytest.approx(cut, abs=0.05)
    assert plain.keys() == cut.keys()


def test_an_embeddings_file_has_nothing_to_cut(table: Path, tmp_path: Path) -> None:
    eml.embed("timm:test_resnet", table, out=tmp_path / "x.npz", weights="none", image_size=32)
    with pytest.raises(ConfigError, match="`shards` embed images, and embeddings files need none"):
        eml.evaluate(tmp_path / "x.npz", out=tmp_path / "out", shards=2, shard=0)
