"""Thumbnails of an index's images: small, without metadata, from the index's folder alone, kept within a bound."""

import asyncio
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.serving.batching import QueueFullError
from eml.serving.thumbnails import SIDE, ServedThumbnails
from tests.serving.shop_server import build_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    build_shop(made)
    return made.rename(made.with_name("moved")) / "shop.index"


@pytest.fixture
def thumbnails(shop: Path, tmp_path: Path) -> Iterator[ServedThumbnails]:
    """Thumbnails of an index that was moved with its photos, which may be changed."""
    shutil.copytree(shop.parent, tmp_path / "shop")
    moved = ServedThumbnails(tmp_path / "shop" / "shop.index", kept=500)
    yield moved
    moved.close()


def get(thumbnails: ServedThumbnails, id_: int) -> bytes | None:
    return asyncio.run(thumbnails.get(id_))


def place(thumbnails: ServedThumbnails, id_: int) -> Path:
    from eml.indexing.rows import rows_of

    path = rows_of(thumbnails._store, np.array([id_]))[id_].place.path
    assert path is not None
    return path


def test_a_thumbnail_is_small_and_has_no_metadata(thumbnails: ServedThumbnails) -> None:
    path = place(thumbnails, 1)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a place that nobody shall know"  # a quarter turn, a description
    Image.new("RGB", (900, 600), "red").save(path, "PNG", exif=exif)
    data = get(thumbnails, 1)
    assert data is not None
    assert b"nobody" not in data
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("WEBP", (160, SIDE))
        assert not image.getexif()


def test_what_is_no_image_of_the_folder_has_none(thumbnails: ServedThumbnails, tmp_path: Path) -> None:
    assert get(thumbnails, 1) is not None
    assert get(thumbnails, 9999) is None
    secret = tmp_path / "secret.png"
    Image.new("RGB", (30, 30), "blue").save(secret)
    gone, broken, linked = (place(thumbnails, id_) for id_ in (2, 3, 4))
    gone.unlink()
    broken.write_bytes(b"no image")
    linked.unlink()
    linked.symlink_to(secret)
    assert [get(thumbnails, id_) for id_ in (2, 3, 4)] == [None, None, None]


def test_one_is_made_again_where_the_file_was_changed_and_the_bound_is_kept(thumbnails: ServedThumbnails) -> None:
    before = get(thumbnails, 1)
    assert get(thumbnails, 1) is before, "it was made twice"
    Image.new("RGB", (50, 40), "green").save(place(thumbnails, 1))
    assert get(thumbnails, 1) != before
    for id_ in range(1, 10):
        get(thumbnails, id_)
    assert 0 < sum(map(len, thumbnails._images.values())) <= 500


def test_too_many_that_wait_are_refused(shop: Path) -> None:
    full = ServedThumbnails(shop, most_waiting=1)

    async def two() -> list[bytes | BaseException | None]:
        return await asyncio.gather(full.get(1), full.get(2), return_exceptions=True)

    first, second = asyncio.run(two())
    full.close()
    assert isinstance(first, bytes)
    assert isinstance(second, QueueFullError)


def test_a_client_gets_an_image_or_a_plain_error(thumbnails: ServedThumbnails) -> None:
    pytest.importorskip("fastapi")
    from fastapi import FastAPI
    from httpx import ASGITransport, AsyncClient

    from eml.serving.routes.thumbnails import thumbnail_routes

    app = FastAPI()
    app.include_router(thumbnail_routes(thumbnails))

    async def ask() -> list[tuple[int, str]]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://eml") as client:
            answers = [await client.get(f"/v1/images/{id_}/thumbnail") for id_ in ("1", "9999", "-1", "..", 2**63)]
        return [(answer.status_code, answer.headers["Content-Type"]) for answer in answers]

    image, *errors = asyncio.run(ask())
    assert image == (200, "image/webp")
    assert errors == [(status, "application/json") for status in (404, 422, 404, 422)]
