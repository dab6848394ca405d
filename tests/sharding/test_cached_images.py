"""`eml cache` in shards, in one process: the bytes of the cache that is filled without them."""

import shutil
from pathlib import Path

import pytest

import eml
from eml.errors import ConfigError, DataError


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.wide), 3])
def test_shards_merge_to_the_bytes_of_a_cache(photos: Path, tmp_path: Path, count: int) -> None:
    (photos / "class 0" / "broken.png").unlink()
    eml.scan(photos)
    options = {"side": 8, "format": "jpeg"}
    eml.fill_cache(photos, folder=tmp_path / "whole", **options)
    for index in reversed(range(count)):
        eml.fill_cache(photos, folder=tmp_path / "cut", shards=count, shard=index, **options)
    assert eml.fill_cache(photos, folder=tmp_path / "cut", shards=count, shard=0, **options).was_done
    result = eml.merge_shards(tmp_path / "cut", remove=True).merged[0].result
    assert (result.caches[0].images, result.caches[0].added) == (30, 30)
    own, merged = (next((tmp_path / name).glob("images-*")) for name in ("whole", "cut"))
    for name in ("header.json", "data.bin", "index.bin"):
        assert (own / name).read_bytes() == (merged / name).read_bytes(), name
    assert eml.fill_cache(photos, folder=tmp_path / "cut", **options).caches[0].added == 0


def test_a_damaged_image_of_a_shard_is_not_merged(photos: Path, tmp_path: Path) -> None:
    (photos / "class 0" / "broken.png").unlink()
    eml.scan(photos)
    eml.fill_cache(photos, folder=tmp_path, side=8, shards=1, shard=0)
    data = next(tmp_path.glob(".*/*.images/0/data.bin"))
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)
    with pytest.raises(DataError, match="an image in it is damaged") as error:
        eml.merge_shards(tmp_path)
    assert "run the shards again with `check`" in error.value.problems[0]
    assert not eml.fill_cache(photos, folder=tmp_path, side=8, shards=1, shard=0, check=True).was_done
    assert eml.merge_shards(tmp_path).merged[0].result.caches[0].images == 30
    shutil.rmtree(tmp_path / data.parents[2].name)


def test_clearing_and_shards_do_not_go_together(photos: Path) -> None:
    with pytest.raises(ConfigError, match="`clear`: removes whole caches"):
        eml.fill_cache(photos, side=8, shards=2, shard=0, clear=True)
