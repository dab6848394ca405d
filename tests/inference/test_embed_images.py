"""Images are embedded with their facts; what cannot be read is told, and nothing is computed twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import eml
from eml.errors import DataError
from eml.files import digest
from eml.inference.embed import Batching
from eml.inference.embed_images import EmbeddedImages, embed_images
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.image_list import list_images
from eml.inference.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(11):
        path = tmp_path / f"photos/{'ab'[number % 2]}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/a/copy.png").write_bytes((tmp_path / "photos/b/01.png").read_bytes())
    (tmp_path / "photos/a/00a.png").write_bytes(b"no image")
    (tmp_path / "photos/b/empty.png").write_bytes(b"")
    return tmp_path / "photos"


def run(model: Model, photos: Path, store: EmbeddingStore | None = None, workers: int = 0) -> EmbeddedImages:
    return embed_images(model, list_images([photos]), batching=Batching(4, workers), reuse=store)


@pytest.mark.parametrize("workers", [0, 2])
def test_readable_images_are_embedded_and_the_others_told(model: Model, photos: Path, workers: int) -> None:
    images = run(model, photos, workers=workers)
    paths = [photos / name for name in images.frame["file_name"]]
    torch.testing.assert_close(images.embeddings, torch.from_numpy(model.embed(paths)), rtol=0, atol=1e-6)
    assert images.frame["content"].tolist() == [digest(path) for path in paths]
    assert images.frame["label"].tolist() == [path.parent.name for path in paths]
    assert images.errors.to_numpy().tolist() == [
        ["a/00a.png", "not_an_image", "its bytes are of no known image format"],
        ["b/empty.png", "empty", "0 bytes"],
    ]
    assert (len(images), images.computed, images.reused) == (12, 11, 0)
    assert images.fingerprint == model.fingerprint
    copies = images.frame.index[images.frame["content"] == digest(photos / "a/copy.png")]
    assert torch.equal(images.embeddings[copies[0]], images.embeddings[copies[1]])


def test_a_work_that_was_broken_off_gives_the_same_bits(model: Model, photos: Path, tmp_path: Path) -> None:
    whole = run(model, photos)
    for batches in (1, 2):
        path = tmp_path / f"kept-{batches}"

        @contextmanager
        def killed(description: str, total: int | None = None, left: int = batches) -> Iterator[object]:
            seen = 0

            def advance(done: int) -> None:
                nonlocal seen
                seen += done
                if description.startswith("embedding") and seen >= 4 * left:
                    raise KeyboardInterrupt

            yield advance

        images = list_images([photos])
        kept = EmbeddingStore(model.fingerprint.digest, model.size).kept_in(path)
        with pytest.raises(KeyboardInterrupt), kept as store:
            embed_images(model, images, batching=Batching(4), reuse=store, progress=killed)  # type: ignore[arg-type]
        with EmbeddingStore(model.fingerprint.digest, model.size).kept_in(path) as store:
            again = run(model, photos, store)
        assert again.reused >= 3
        assert again.computed == 11 - (3 if batches == 1 else 7)
        assert torch.equal(again.embeddings, whole.embeddings)
        pd.testing.assert_frame_equal(again.frame, whole.frame)
        pd.testing.assert_frame_equal(again.errors, whole.errors)


def test_unchanged_images_are_not_computed_again_wherever_they_are(model: Model, photos: Path) -> None:
    store = EmbeddingStore(model.fingerprint.digest, model.size)
    first = run(model, photos, store)
    (photos / "a/02.png").rename(photos / "a/99.png")
    Image.new("RGB", (9, 9), "red").save(photos / "a/04.png")
    second = run(model, photos, store)
    assert (len(second), second.computed, second.reused) == (12, 1, 11)
    moved = second.frame.index[second.frame["file_name"] == "a/99.png"][0]
    before = first.frame.index[first.frame["file_name"] == "a/02.png"][0]
    assert torch.equal(second.embeddings[moved], first.embeddings[before])


def test_boxes_are_cropped_and_the_columns_of_a_table_kept(model: Model, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "file_name,x_1,y_1,x_2,y_2,price\na/02.png,0,0,20,20,5\na/02.png,,,,,6\na/02.png,0,0,50,90,7\na/gone.png,,,,,8\n"
    )
    images = embed_images(model, list_images([table], root=photos))
    crop = np.asarray(Image.open(photos / "a/02.png"))[:20, :20]
    expected = model.embed([crop, np.asarray(Image.open(photos / "a/02.png"))])
    torch.testing.assert_close(images.embeddings, torch.from_numpy(expected), rtol=0, atol=1e-6)
    assert images.frame.columns.tolist() == ["file_name", "label", "content", "x_1", "y_1", "x_2", "y_2", "price"]
    assert images.errors["reason"].tolist() == ["invalid_box", "missing"]


def test_a_file_with_other_bytes_than_its_content_is_never_embedded(model: Model, photos: Path, tmp_path: Path) -> None:
    eml.scan(photos)
    table = photos / "dataset_info.csv"
    frame = pd.read_csv(table)
    frame.loc[frame.index[-1], "content"] = "0" * 32
    frame.to_csv(tmp_path / "t.csv", index=False)
    images = embed_images(model, list_images([tmp_path / "t.csv"], root=photos))
    assert set(images.frame["content"]) == {digest(photos / name) for name in images.frame["file_name"]}


def test_that_no_image_can_be_read_is_an_error(model: Model, photos: Path, tmp_path: Path) -> None:
    for names, message in (
        ([photos / "b/empty.png"], "empty.png: cannot be read: 0 bytes (empty)"),
        (
            [photos / "b/empty.png", photos / "a/00a.png"],
            "none of the 2 files is an image that can be read; the first: ",
        ),
    ):
        images = list_images(names)
        with pytest.raises(DataError) as caught:
            embed_images(model, images).refuse_none(images)
        assert message in str(caught.value)
    (tmp_path / "t.csv").write_text("file_name\n02.png\n04.png\n")
    images = list_images([tmp_path / "t.csv"])
    with pytest.raises(DataError, match="none of its 2 images is under"):
        embed_images(model, images).refuse_none(images)
