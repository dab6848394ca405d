from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.cache import FillCacheResult
from eml.errors import DataError


def test_fill_cache_returns_its_caches_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.fill_cache(photos, side=32)
    assert isinstance(result, FillCacheResult)
    assert [(cache.images, cache.added) for cache in result.caches] == [(20, 20)]
    (again,) = printed_json("cache", photos, "--side", 32)["caches"]
    (cache,) = result.to_dict()["caches"]
    assert again | {"seconds": 0} == cache | {"added": 0, "bytes": 0, "seconds": 0}
    assert eml.fill_cache(photos, clear=True).removed == (cache["folder"],)


def test_a_table_needs_a_side(photos: Path) -> None:
    with pytest.raises(DataError) as caught:
        eml.fill_cache(photos)
    assert (caught.value.code, caught.value.parameter) == ("missing-key", "side")
