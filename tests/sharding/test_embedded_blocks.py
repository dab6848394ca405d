"""`eml embed` in shards, in one process: the bytes are the same for any number of shards and threads."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import eml
from eml.cli.app import main
from eml.errors import ConfigError, DataError
from tests.sharding.conftest import LONG_AGO, draw_old

NETWORK = {"weights": "none", "image_size": 32, "batch_size": 7}


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Any:
    """Let blocks be small, so that few images are several of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eml.sharding.blocks.cut_blocks.__defaults__", (8,))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images and its embeddings by one shard: not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    draw_old(folder / "photos")
    embed_shards(folder / "photos", folder / "x.npz", 1)
    eml.merge_shards(folder / "x.npz")
    return folder


def embed_shards(photos: Path, out: Path, count: int, **options: Any) -> list[Any]:
    """Make all shards, the last one first."""
    return [
        eml.embed("timm:test_resnet", photos, out=out, shards=count, shard=index, **(NETWORK | options))
        for index in reversed(range(count))
    ]


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.wide), 5])
def test_shards_of_any_number_merge_to_the_same_bytes(whole: Path, tmp_path: Path, count: int) -> None:
    threads = torch.get_num_threads()
    embed_shards(whole / "photos", tmp_path / "x.npz", count, workers=3)
    result = eml.merge_shards(tmp_path / "x.npz")
    for name in ("x.npz", "x_errors.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    assert result.summary().startswith(f"joined {count} shards of eml embed, 31 images, to {tmp_path / 'x.npz'}: ")
    assert [path.name for path in result.written] == ["x.npz", "x_errors.csv"]
    assert torch.get_num_threads() == threads


def test_empty_shards_are_told_where_they_are_made_and_where_they_are_merged(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eml.sharding.blocks.cut_blocks.__defaults__", (256,))
    made = embed_shards(whole / "photos", tmp_path / "x.npz", 3)
    (line,) = made[0].cautions()
    assert "the 31 images are cut into 1 block of at most 256" in line
    assert "2 of 3 shards are empty" in line
    assert [result.done for result in made] == [1, 2, 3]
    assert line in eml.merge_shards(tmp_path / "x.npz").cautions()
    assert main(["merge-shards", str(tmp_path / "x.npz")]) == 0
    shown = capsys.readouterr()
    assert f"joined 3 shards of eml embed, 31 images, to {tmp_path / 'x.npz'}" in shown.out
    assert line in " ".join(shown.err.split())


def test_embeddings_are_those_of_the_command_without_shards_but_for_the_last_bits(whole: Path, tmp_path: Path) -> None:
    eml.embed("timm:test_resnet", whole / "photos", out=tmp_path / "plain.npz", **NETWORK)
    plain, cut = np.load(tmp_path / "plain.npz"), np.load(whole / "x.npz")
    assert plain.files == cut.files
    np.testing.assert_allclose(cut["embeddings"], plain["embeddings"], rtol=0, atol=1e-6)
    for name in ("file_name", "label", "content"):
        assert np.array_equal(plain[name], cut[name])
    assert (tmp_path / "plain_errors.csv").read_bytes() == (whole / "x_errors.csv").read_bytes()


def test_a_new_image_costs_its_block_alone_and_merges_to_the_bytes_of_a_fresh_work(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "photos", tmp_path / "photos")
    embed_shards(tmp_path / "photos", tmp_path / "x.npz", 2)
    Image.new("RGB", (20, 20), (9, 99, 9)).save(tmp_path / "photos" / "class 3" / "new.png")
    os.utime(tmp_path / "photos" / "class 3" / "new.png", (LONG_AGO, LONG_AGO))
    with pytest.raises(DataError, match=r"is stale: its images are others.*\(\d+ images before, \d+ now\)"):
        eml.merge_shards(tmp_path / "x.npz")
    again = [result for result in embed_shards(tmp_path / "photos", tmp_path / "x.npz", 2) if not result.was_done]
    assert len(again) == 1
    before = next(line for line in again[0].messages if "were embedded before" in line)
    assert 0 < again[0].rows - int(before.split(" of ")[0]) <= 9  # a block, and the image
    eml.merge_shards(tmp_path / "x.npz")
    embed_shards(tmp_path / "photos", tmp_path / "fresh.npz", 1)
    eml.merge_shards(tmp_path / "fresh.npz")
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "fresh.npz").read_bytes()


def test_shards_by_two_models_are_told(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = {"out": tmp_path / "x.npz", **NETWORK, "shards": 2}
    eml.embed("timm:test_resnet", whole / "photos", shard=0, **network)
    monkeypatch.setattr("eml.inference.load.UNTRAINED_SEED", 29)
    eml.embed("timm:test_resnet", whole / "photos", shard=1, **network)
    with pytest.raises(DataError, match=r"shard 1 of 2 was embedded by another model than shard 0 of 2 \(.*\)\. Run"):
        eml.merge_shards(tmp_path / "x.npz")


def test_the_bar_advances_by_batches_and_ends_at_all_images(whole: Path, tmp_path: Path) -> None:
    steps = list[int]()

    @contextmanager
    def bar(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        yield steps.append if description.startswith("embedding") else lambda count: None

    for _ in range(2):  # the second time nothing is computed
        embed_shards(whole / "photos", tmp_path / "x.npz", 1, progress=bar, workers=2)
        assert sum(steps) == 31
        assert max(steps) <= 8
        (tmp_path / ".x.npz.eml-shards" / "00000-of-00001.json").unlink()
        steps.clear()


def test_a_list_on_stdin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a list on stdin is read up by the first shard"):
        eml.embed("timm:test_resnet", "-", out=tmp_path / "x.npz", shards=2, shard=0)
