"""The engine: answers are those of Index, a bad image fails alone, limits hold, each answer is of one generation."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from eml.errors import ConfigError, DataError, EmlError
from eml.indexing.index import Index
from eml.serving.answers import ServedImage
from eml.serving.engine import ClosingError, DeadlineError, QueueFullError, ServingEngine
from eml.serving.limits import ServingLimits, batch_of
from tests.indexing.shop import network, photo, text_network
from tests.serving.shop_server import build_shop, photo_png, png, served, served_copy

Output = TypeVar("Output")
QUERIES = (served("mug", 7), served("tea", 8), served("<b>jam", 9))
BROKEN = ServedImage("broken.png", b"no image")


def run(coroutine: Coroutine[Any, Any, Output]) -> Output:
    return asyncio.run(coroutine)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def one_by_one(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingEngine]:
    """An engine whose batches have one image; its index is not to be changed."""
    engine = served_copy(shop, tmp_path_factory.mktemp("copy"), ServingLimits(batch=1))
    yield engine
    run(engine.close())


@pytest.fixture
def engine(shop: Path, tmp_path: Path) -> Iterator[ServingEngine]:
    """An engine whose index may be changed."""
    engine = served_copy(shop, tmp_path)
    yield engine
    run(engine.close())


def test_with_batches_of_one_the_embeddings_have_the_bits_of_model_embed(one_by_one: ServingEngine) -> None:
    reply = run(one_by_one.embed([*QUERIES, BROKEN]))
    expected = network().embed([image.data for image in QUERIES], batch_size=1)
    assert reply.model == network().fingerprint.digest
    for item, embedding in zip(reply.items, expected, strict=False):
        assert item.embedding is not None
        assert item.embedding.tobytes() == embedding.tobytes()
    assert reply.items[3].problem is not None
    assert reply.items[3].problem == ("not-an-image", "its bytes are of no known image format")


def test_answers_are_those_of_the_index_and_of_its_generation(one_by_one: ServingEngine) -> None:
    assert one_by_one.index is not None
    images = [image.data for image in QUERIES]
    with Index(one_by_one.index.store, model=network()) as index:
        for per_class, where in ((False, None), (True, None), (False, "label != 'mug'")):
            reply = run(one_by_one.search(QUERIES, k=4, per_class=per_class, where=where))
            answers = index.search(images, k=4, per_class=per_class, where=where)
            assert reply.generation == one_by_one.generation
            assert [[astuple(found) for found in item.neighbours] for item in reply.items] == [
                [(x.rank, x.label, x.cosine, x.probability, x.file_name, x.id) for x in answer] for answer in answers
            ]
        classes = run(one_by_one.classify([*QUERIES, BROKEN]))
        names = ("label", "probability", "runner_up", "runner_up_probability", "margin", "cosine", "unknown", "reason")
        for item, answer in zip(classes.items, index.classify(images), strict=False):
            assert [getattr(item, name) for name in names] == [getattr(answer, name) for name in names]
        assert classes.items[3].label is None
        assert classes.items[3].problem is not None
        both = run(one_by_one.search([*QUERIES, BROKEN], where="label == 'mug'", classify=True))
        assert [item.classified for item in both.items] == list(classes.items)
        assert {image.label for item in both.items for image in item.neighbours} == {"mug"}


def test_the_first_numbers_of_an_embedding_have_unit_length(one_by_one: ServingEngine) -> None:
    whole = run(one_by_one.embed(QUERIES[:1])).items[0].embedding
    part = run(one_by_one.embed(QUERIES[:1], dimensions=8)).items[0].embedding
    assert whole is not None
    assert part is not None
    assert part == pytest.approx(whole[:8] / np.linalg.norm(whole[:8]), abs=1e-6)
    with pytest.raises(ConfigError, match="dimensions must be 1 to 96, the embedding size, got 97"):
        run(one_by_one.embed(QUERIES[:1], dimensions=97))


def test_texts_are_embedded_and_a_model_without_a_text_tower_says_so(one_by_one: ServingEngine) -> None:
    with pytest.raises(ConfigError, match="no text tower"):
        run(one_by_one.embed([], ["a mug"]))
    with_texts = ServingEngine(text_network(), name="two towers")
    reply = run(with_texts.embed(QUERIES[:1], ["a  mug"]))
    run(with_texts.close())
    assert [item.name for item in reply.items] == ["mug/7.png", "a mug"]
    assert reply.items[1].embedding is not None
    assert (reply.items[1].embedding == text_network().embed_text(["a mug"])[0]).all()


def test_images_are_added_and_removed_and_an_image_that_is_there_is_not_added_twice(engine: ServingEngine) -> None:
    new = served("lamp", 1)
    reply = run(engine.add([new, served("mug", 0), BROKEN], "lamp", ["lamp/1.png", "lamp/2.png", "lamp/3.png"]))
    assert (reply.added, reply.images) == (1, 10)
    assert [(item.id, item.added, item.problem is None) for item in reply.items] == [
        (10, True, True),
        (reply.items[1].id, False, True),
        (None, False, False),
    ]
    answer = run(engine.search([new, served("mug", 0)], k=1))
    nearest = [item.neighbours[0] for item in answer.items]
    assert [(found.label, found.file_name, found.id) for found in nearest] == [
        ("lamp", "lamp/1.png", 10),
        ("mug", "mug/0.png", reply.items[1].id),
    ]
    removed = run(engine.remove(labels=["lamp"]))
    assert (removed.removed, removed.images) == (1, 9)
    assert removed.generation > reply.generation
    with pytest.raises(DataError, match="the index has no image of label 'lamp'"):
        run(engine.remove(labels=["lamp"]))


def test_changes_of_another_process_are_seen_by_later_answers(engine: ServingEngine) -> None:
    assert engine.index is not None
    before = run(engine.classify(QUERIES[:1]))
    with Index.open(engine.index.folder) as index:
        index.add([photo("new", 1), photo("new", 2)], "new")
    after = run(engine.classify([ServedImage("q", png(photo("new", 3)))]))
    assert before.items[0].label == "mug"
    assert after.items[0].label == "new"
    assert after.generation == engine.generation
    assert after.generation > before.generation
    state = run(engine.index_state())
    assert (state.images, state.classes, state.generation) == (11, 4, after.generation)


def test_a_file_name_of_a_client_never_leads_out_of_a_folder(engine: ServingEngine) -> None:
    with pytest.raises(DataError, match="a file name must be relative"):
        run(engine.add(QUERIES[:1], "mug", ["../../etc/passwd"]))
    own = ServedImage("/etc/passwd", photo_png("mug", 50))
    run(engine.add([own], "mug"))
    assert run(engine.search([own], k=1)).items[0].neighbours[0].file_name is None


def test_a_batch_has_few_images_on_a_cpu_and_many_on_a_gpu_unless_it_is_said(one_by_one: ServingEngine) -> None:
    assert (batch_of("cpu"), batch_of("cuda:1"), batch_of("mps")) == (4, 32, 32)
    assert one_by_one.limits.batch == 1
    engine = ServingEngine(network())
    assert (engine.limits.batch, engine._batcher._most) == (4, 4)
    run(engine.close())


def test_limits_are_kept() -> None:
    limits = ServingLimits(items=2, queue=4, image_bytes=10_000, pixels=2000, k=10, where_chars=20, text_chars=5)
    engine = ServingEngine(network(), limits=limits)
    noise = np.random.default_rng(0).integers(0, 255, (70, 70, 3), np.uint8)
    large, many = png(Image.new("RGB", (50, 50))), png(Image.fromarray(noise))
    reply = run(engine.embed([ServedImage("large", large), ServedImage("many", many)]))
    assert [item.problem for item in reply.items] == [
        ("image-too-large", "50 × 50 pixels; at most 2,000 are taken"),
        ("image-too-large", f"{len(many):,} bytes; at most 10,000 are taken"),
    ]
    for images, texts, message in (
        (QUERIES, [], "3 images and texts; at most 2 are taken at once"),
        ([], [], "there is no image, and no text"),
        ([], ["a long text"], "`text` has 11 characters; at most 5 are taken"),
        ([], [" "], "`text` must not be empty"),
        ([], ["a\0b"], "`text` has characters that no text can have"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(engine.embed(images, texts))
    with pytest.raises(DataError, match="without an index"):
        run(engine.search(QUERIES[:1]))
    run(engine.close())
    with pytest.raises(ConfigError, match="`queue` must take a whole request, at least `items`, 8, got 4"):
        ServingLimits(items=8, queue=4)
    with pytest.raises(ConfigError, match="`seconds` must be above 0, got 0"):
        ServingLimits(seconds=0)


def test_wrong_arguments_of_a_search_and_of_a_classification_are_named(one_by_one: ServingEngine) -> None:
    for arguments, message in (
        ({"k": 0}, "`k` must be 1 to 1,000, got 0"),
        ({"where": "a" * 2001}, "`where` has 2,001 characters; at most 2,000 are taken"),
        ({"where": "lable == 'mug'"}, "there is no column 'lable'"),
    ):
        with pytest.raises(EmlError, match=message):
            run(one_by_one.search(QUERIES, **arguments))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`unknown_share` must be above 0 and below 1"):
        run(one_by_one.classify(QUERIES, unknown_share=1.0))


class Slow:
    """A batch that lasts."""

    def __init__(self, engine: ServingEngine, seconds: float) -> None:
        import time

        own = engine._batcher.runs["image"]
        engine._batcher.runs["image"] = lambda pixels: [time.sleep(seconds), own(pixels)][1]  # type: ignore[list-item, return-value, func-returns-value]


def test_a_full_queue_refuses_with_the_seconds_to_wait_and_recovers() -> None:
    engine = ServingEngine(network(), limits=ServingLimits(items=2, queue=4, batch=2))
    Slow(engine, 0.05)
    refused: list[str] = []
    engine.observer.refused = refused.append  # type: ignore[method-assign]

    async def overload() -> list[Any]:
        return await asyncio.gather(*(engine.embed(QUERIES[:2]) for _ in range(5)), return_exceptions=True)

    outcomes = run(overload())
    full = [outcome for outcome in outcomes if isinstance(outcome, QueueFullError)]
    assert len(full) == 3
    assert refused == ["queue-full"] * 3
    assert all(0 < error.retry_after < 10 for error in full)
    assert engine.queue_depth == 0
    assert run(engine.embed(QUERIES[:2])).items[0].problem is None
    run(engine.close())


def test_a_request_ends_at_its_deadline_and_leaves_the_queue() -> None:
    engine = ServingEngine(network(), limits=ServingLimits(seconds=0.1, batch=1))
    Slow(engine, 0.2)
    with pytest.raises(DeadlineError, match=r"not done within 0\.1 s"):
        run(engine.embed(QUERIES))
    assert engine.queue_depth == 0
    run(engine.close())


def test_what_is_queued_is_answered_when_the_engine_ends_and_what_is_new_is_refused() -> None:
    engine = ServingEngine(network(), limits=ServingLimits(batch=1))
    Slow(engine, 0.05)

    async def end() -> tuple[Any, bool]:
        asked = asyncio.create_task(engine.embed(QUERIES))
        await asyncio.sleep(0.01)
        engine.refuse_new()
        with pytest.raises(ClosingError):
            await engine.embed(QUERIES)
        return await asked, await engine.is_healthy()

    reply, is_healthy = run(end())
    assert all(item.embedding is not None for item in reply.items)
    assert not is_healthy
    run(engine.close())


def test_health_is_that_of_an_image_embedded() -> None:
    engine = ServingEngine(network())
    assert run(engine.is_healthy())
    run(engine.close())
    broken = ServingEngine(network())
    broken._batcher.runs["image"] = lambda pixels: [np.full(96, np.nan, np.float32) for _ in pixels]
    assert not run(broken.is_healthy())
    run(broken.close())
