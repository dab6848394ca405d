"""An index that others change while it is served: a second server, a removal under thumbnails, another index."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.errors import DataError
from eml.indexing.index import Index
from eml.indexing.store import IndexStore
from eml.serving.engine import ServingEngine
from eml.serving.served_index import ServedIndex
from eml.serving.thumbnails import ServedThumbnails
from tests.indexing.shop import draw, network
from tests.serving.shop_server import build_shop, served, served_copy


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("shop"))


def closed(*engines: ServingEngine) -> None:
    for engine in engines:
        asyncio.run(engine.close())


def test_two_servers_that_change_one_index_at_once_lose_nothing_and_see_each_other(shop: Path, tmp_path: Path) -> None:
    first = served_copy(shop, tmp_path)
    assert first.index is not None
    second = ServingEngine(network(), ServedIndex(first.index.folder, network()))
    engines = (first, second)

    async def change() -> Sequence[Any]:
        adding = [
            engine.add([served(f"lamp {number}", number)], f"lamp {number}", [f"{number}.png"])
            for number in range(4)
            for engine in engines  # both add the same four images
        ]
        removing = [engine.remove(labels=[label]) for engine, label in zip(engines, ("mug", "tea"), strict=True)]
        return await asyncio.gather(*adding, *removing)

    replies = asyncio.run(change())
    assert sum(reply.added for reply in replies) == 4
    assert sum(reply.removed for reply in replies) == 6
    changed = [reply.generation for reply in replies if reply.added or reply.removed]
    assert len(set(changed)) == len(changed), "each change has a generation of its own"
    ids = {reply.items[0].id for reply in replies if reply.items}
    assert len(ids) == 4
    for engine in engines:
        state = asyncio.run(engine.index_state())
        assert (state.images, state.classes, state.generation) == (7, 5, max(changed))
        answer = asyncio.run(engine.search([served("lamp 2", 2)], k=1))
        assert answer.items[0].neighbours[0].label == "lamp 2"
    closed(*engines)
    with Index.open(first.index.folder) as index:
        assert len(index.store) == 7


def test_a_removed_image_has_no_thumbnail_any_more_and_its_id_shows_no_other_one(tmp_path: Path) -> None:
    engine = served_copy(build_shop(tmp_path / "made"), tmp_path)
    assert engine.index is not None
    thumbnails = ServedThumbnails(engine.index.folder)
    newest = max(found.id for found in asyncio.run(engine.search([served("mug", 0)], k=9)).items[0].neighbours)
    assert asyncio.run(thumbnails.get(newest)) is not None, "it is kept"
    asyncio.run(engine.remove(ids=[newest]))
    assert asyncio.run(thumbnails.get(newest)) is None
    added = asyncio.run(engine.add([served("lamp", 1)], "lamp"))
    assert added.items[0].id not in (None, newest)
    assert asyncio.run(thumbnails.get(newest)) is None
    thumbnails.close()
    closed(engine)


def test_nothing_is_added_to_an_index_of_another_model_that_took_the_place(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = served_copy(shop, tmp_path)
    assert engine.index is not None
    folder, own = engine.index.folder, engine._embedding.images
    other = eml.load("timm:test_resnet", weights="none", image_size=48)
    with Index.build(tmp_path / "other", other, draw(tmp_path / "photos")) as index:
        generation_before = len(index.store), index.store.generation

    async def embed_and_replace(*arguments: Any) -> Any:
        items = await own(*arguments)
        shutil.rmtree(folder)
        (tmp_path / "other").rename(folder)
        return items

    monkeypatch.setattr(engine._embedding, "images", embed_and_replace)
    with pytest.raises(DataError, match="another index is in the folder") as caught:
        asyncio.run(engine.add([served("lamp", 1)], "lamp"))
    assert caught.value.code == "index-was-replaced"
    closed(engine)
    with IndexStore.open(folder) as store:
        assert (len(store), store.generation) == generation_before
