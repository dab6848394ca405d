"""The class Index: what it finds, adds, removes and says of images, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eml
from eml.errors import CheckpointError, ConfigError, DataError, OutputError
from eml.indexing.index import Index
from eml.indexing.model_record import put_inside
from tests.indexing.shop import CLASSES, calibration, draw, network, photo, text_network


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of nine photos of three classes, with its model inside: not to be changed."""
    folder = tmp_path_factory.mktemp("shop")
    Index.build(folder / "shop.index", network(), draw(folder / "photos"), with_model=True).close()
    return folder


@pytest.fixture
def index(shop: Path, tmp_path: Path) -> Index:
    """A copy of the index, to be changed."""
    return Index.open(Path(shutil.copytree(shop / "shop.index", tmp_path / "shop.index")))


def test_an_index_finds_the_image_itself_first_and_then_its_class(index: Index, shop: Path) -> None:
    with index:
        assert len(index) == 9
        assert index.labels == sorted(CLASSES)
        answers = index.search(shop / "photos" / "tea" / "1.png", k=4)
        assert len(answers) == 1
        assert [image.rank for image in answers[0]] == [1, 2, 3, 4]
        assert answers[0][0].file_name == "tea/1.png"
        assert answers[0][0].cosine == pytest.approx(1, abs=1e-6)
        assert [image.label for image in answers[0][:3]] == ["tea"] * 3
        assert answers[0][0].probability is None, "an index without calibration gives no probability"
        assert answers.to_pandas()["id"].tolist() == [image.id for image in answers[0]]
        assert "tea 1.000" in repr(answers)
        assert repr(index) == f"<Index {index.folder}: 9 images of 3 classes, test_resnet, not calibrated>"


def test_images_may_be_given_as_pixels_and_the_cosines_are_those_of_the_embeddings(index: Index) -> None:
    images = [photo("mug", 7), np.asarray(photo("tea", 7))]
    with index:
        answers = index.search(images, k=9)
        table = index.to_pandas()
        own = (
            index.model.embed(images)
            @ index.model.embed(
                [Path(root) / name for root, name in zip(table["image_root"], table["file_name"], strict=True)]
            ).T
        )
        for row, answer in enumerate(answers):
            ids = table["id"].tolist()
            assert {image.id: image.cosine for image in answer} == pytest.approx(
                dict(zip(ids, own[row].tolist(), strict=True)), abs=1e-6
            )
        assert [answer[0].label for answer in answers] == ["mug", "tea"]


def test_a_query_is_averaged_with_its_nearest_images_before_it_is_searched(index: Index) -> None:
    image = photo("mug", 7)
    with index:
        query = index.model.embed(image)[0]
        gallery = index.store.embeddings(index.to_pandas()["id"].tolist())
        near = np.argsort(-(gallery @ query))[:2]
        mean = query + ((gallery[near] @ query) ** 3) @ gallery[near]
        expected = gallery @ (mean / np.linalg.norm(mean))
        (answer,) = index.search([image], k=9, query_expansion=2)
    assert [found.cosine for found in answer] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-6)
    assert all(found.probability is None for found in answer)


def test_the_nearest_image_of_each_class(index: Index, shop: Path) -> None:
    with index:
        (answer,) = index.search(shop / "photos" / "mug" / "0.png", k=5, per_class=True)
        everything = index.search(shop / "photos" / "mug" / "0.png", k=9)[0]
    firsts = {label: next(image for image in everything if image.label == label) for label in CLASSES}
    assert [image.id for image in answer] == [
        image.id for image in sorted(firsts.values(), key=lambda image: -image.cosine)
    ]


def test_a_condition_restricts_the_search_exactly(index: Index, shop: Path) -> None:
    with index:
        (answer,) = index.search(shop / "photos" / "mug" / "0.png", k=9, where="label != 'mug'")
        assert {image.label for image in answer} == set(CLASSES) - {"mug"}
        with pytest.raises(eml.EmlError, match="there is no column 'labl'"):
            index.search(shop / "photos" / "mug" / "0.png", where="labl == 'mug'")


def test_classes_are_answered_and_a_class_of_one_image_is_no_worse_than_one_of_many(
    index: Index, tmp_path: Path
) -> None:
    with index:
        index.add(draw(tmp_path / "more", ("mug",), per_class=12, first=20), "mug")
        index.remove(file_names=["tea/1.png", "tea/2.png"])
        classified = index.classify([photo("tea", 9), photo("mug", 9), photo("<b>jam", 9)])
        assert [image.label for image in classified] == ["tea", "mug", "<b>jam"]
        assert classified[0].unknown is None
        assert classified[0].probability is None
        assert classified[0].margin == pytest.approx(0, abs=2)
        frame = classified.to_pandas()
        assert frame["label"].tolist() == ["tea", "mug", "<b>jam"]
        assert frame["unknown"].isna().all()


def test_new_classes_are_added_and_what_is_there_already_is_told(index: Index, tmp_path: Path) -> None:
    new = draw(tmp_path / "new", ("lemon",), per_class=2)
    with index:
        assert len(index.add(new).ids) == 2
        assert len(index.add(new).ids) == 0
        assert len(index.add(new, duplicates="keep").ids) == 2
        assert index.classify(new / "lemon" / "0.png")[0].label == "lemon"
        assert len(index.add([photo("lemon", 50), photo("tea", 51)], ["lemon", "tea"]).ids) == 2
        with pytest.raises(DataError, match="2 images and 3 labels"):
            index.add([photo("lemon", 52), photo("tea", 52)], ["a", "b", "c"])
        assert index.remove(labels="lemon") == 5
        assert "lemon" not in index.labels
        with pytest.raises(DataError, match="no image of label 'lemon'"):
            index.remove(labels=["lemon", "tea"])
        assert len(index) == 10


def test_images_that_cannot_be_read_have_no_answer_and_say_why(index: Index, tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", ("tea",), per_class=1)
    (photos / "broken.jpg").write_text("no image")
    with index:
        good, bad = sorted(index.classify(photos), key=lambda image: image.label is None)
        assert (good.label, bad.label, bad.file_name) == ("tea", None, "broken.jpg")
        assert "not_an_image" in bad.reason
        found = {answer.query: answer for answer in index.search(photos)}
        assert found["broken.jpg"].problem == bad.reason
        assert len(found["broken.jpg"]) == 0
        assert len(found["tea/0.png"]) == 5


def test_texts_find_images_by_a_model_that_takes_them(tmp_path: Path) -> None:
    with Index.build(tmp_path / "shop.index", text_network(), draw(tmp_path / "photos")) as index:
        index.store.calibration = calibration().model_dump(mode="json")
        (mug,) = index.search(text="a  mug", k=4)
        assert (mug.query, mug.is_text) == ("a mug", True)
        assert [image.label for image in mug] == ["mug", "mug", "mug", mug[3].label]
        assert mug[0].probability is None, "the calibration is about two images"
        assert mug.to_dict()["is_text"] is True
        own = text_network().embed_text(["a mug"])[0] @ text_network().embed(tmp_path / "photos" / "mug" / "0.png")[0]
        assert {image.file_name: image.cosine for image in mug}["mug/0.png"] == pytest.approx(own, abs=1e-6)
        both = index.search(tmp_path / "photos" / "tea" / "0.png", k=2, text=["mug", "tea"], where="label != 'mug'")
        assert [answer.query for answer in both] == ["0.png", "mug", "tea"]
        assert [answer[0].probability is None for answer in both] == [False, True, True]
        assert {image.label for answer in both for image in answer} <= {"tea", "<b>jam"}
        html = index.search(text="<b>jam", k=2)._repr_html_()
        assert html.count("<img ") == 2
        assert "<b>" not in html
        with pytest.raises(ConfigError, match="`text` must not be empty"):
            index.search(text=" ")
        with pytest.raises(ConfigError, match="search needs `images`, or a query as `text`"):
            index.search()


def test_a_model_without_text_tower_refuses_texts_and_says_which_do(index: Index) -> None:
    with index, pytest.raises(ConfigError, match=r"has no text tower, so it embeds images alone") as error:
        index.search(text="a mug")
    assert (error.value.code, error.value.parameter) == ("no-text-tower", "text")


def test_notebooks_show_thumbnails_and_escape_labels(index: Index, shop: Path) -> None:
    with index:
        html = index.search(shop / "photos" / "<b>jam" / "0.png", k=2)._repr_html_()
        assert html.count("<img ") == 3
        assert "<b>" not in html
        assert "&lt;b&gt;jam" in html
        classified = index.classify([photo("<b>jam", 9)])
        assert classified._repr_html_().count("<img ") == 2
        assert "<b>" not in classified[0]._repr_html_()


def test_names_in_what_python_prints_do_not_move_the_cursor(index: Index, tmp_path: Path) -> None:
    photo("tea", 9).save(tmp_path / "\x1b[2J.png")
    with index:
        index.store.add(index.embed(tmp_path / "\x1b[2J.png").embeddings, pd.DataFrame({"label": ["a\x1b[1m\nb"]}))
        for answers in (index.search(tmp_path / "\x1b[2J.png"), index.classify(tmp_path / "\x1b[2J.png")):
            assert "\x1b" not in repr(answers)
            assert "\\x1b[2J.png: a\\x1b[1m\\nb" in repr(answers)


def test_no_image_outside_of_the_folder_of_a_row_is_shown(index: Index, tmp_path: Path) -> None:
    root = draw(tmp_path / "photos", ("mug",), per_class=1)
    outside = draw(tmp_path / "private", ("secret",), per_class=1) / "secret" / "0.png"
    names = ["../private/secret/0.png", str(outside), "a\0b.png", "mug/../../private/secret/0.png"]
    rows = pd.DataFrame({"file_name": names, "label": "", "content": list("abcd"), "image_root": str(root)})
    strange = pd.DataFrame({"file_name": ["x.png"], "label": "", "content": "e", "image_root": "/a\0b"})
    with index:
        query = index.embed(outside).embeddings.repeat(5, 1)
        index.store.add(query, pd.concat([rows, strange]))
        answer = index.search(outside, k=5)[0]
        assert {image.file_name for image in answer} == {*names, "x.png"}
        assert [image.place.path for image in answer] == [None] * 5
        assert answer._repr_html_().count("<img") == 1, "the query"


def test_a_model_makes_an_index_for_this_process_alone(shop: Path) -> None:
    with network().index(shop / "photos") as index:
        folder = index.folder
        assert index.search(shop / "photos" / "tea" / "0.png")[0][0].label == "tea"
        assert "in memory" in repr(index)
        assert folder.is_dir()
    assert not folder.exists()


def test_the_index_with_its_model_is_all_that_is_needed_and_may_move(shop: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(shop / "shop.index", tmp_path / "elsewhere" / "x.index"))
    (alone / "model.json").unlink()
    with Index.open(alone) as index:
        assert index.search(shop / "photos" / "tea" / "0.png")[0][0].label == "tea"


def test_a_model_that_is_gone_or_another_one_is_told(shop: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(shop / "shop.index" / "model", tmp_path / "checkpoint"))
    Index.build(tmp_path / "i", checkpoint, draw(tmp_path / "photos", per_class=1)).close()
    query = tmp_path / "photos" / "tea" / "0.png"
    with Index.open(tmp_path / "i") as index:
        assert index.model.folder == checkpoint
    moved = checkpoint.rename(tmp_path / "away")
    with Index.open(tmp_path / "i") as index, pytest.raises(CheckpointError, match="is no longer there") as error:
        index.search(query)
    assert error.value.parameter == "model"
    with Index.open(tmp_path / "i", model=moved) as index:
        assert index.search(query)[0][0].label == "tea"
    another = eml.load("timm:test_efficientnet", weights="none", image_size=32)
    Index.build(tmp_path / "other", another, tmp_path / "photos", with_model=True).close()
    with (
        Index.open(tmp_path / "i", model=tmp_path / "other" / "model") as index,
        pytest.raises(CheckpointError, match="is not the model"),
    ):
        index.search(query)


def test_an_index_of_larger_images_loads_its_checkpoint_so_again(shop: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(shop / "shop.index" / "model", tmp_path / "checkpoint")
    larger = eml.load(checkpoint, image_size=48)
    Index.build(tmp_path / "i", larger, draw(tmp_path / "photos", per_class=1)).close()
    with Index.open(tmp_path / "i") as index:
        assert index.search(tmp_path / "photos" / "tea" / "0.png")[0][0].label == "tea"
        assert index.model.preprocess.size == 48


def test_an_index_that_was_moved_with_its_checkpoint_finds_both_it_and_the_images(shop: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(shop / "shop.index" / "model", project / "checkpoint")
    Index.build(project / "i", project / "checkpoint", draw(project / "photos", per_class=1)).close()
    moved = project.rename(tmp_path / "moved")
    with Index.open(moved / "i") as index:
        (answer,) = index.search(moved / "photos" / "tea" / "0.png", k=1)
        assert index.model.folder == moved / "checkpoint"
        assert answer[0].place.path == moved / "photos" / "tea" / "0.png"


def test_nothing_is_replaced_and_a_failed_build_leaves_nothing(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is an index already"):
        Index.build(shop / "shop.index", network(), shop / "photos")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is no index"):
        Index.build(tmp_path / "mine", network(), shop / "photos")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.jpg").write_text("no image")
    with pytest.raises(DataError, match="cannot be read: its bytes are of no known"):
        Index.build(tmp_path / "new", network(), tmp_path / "bad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "mine"]


def test_a_model_inside_an_index_has_the_files_in_all_folders_of_its_checkpoint(shop: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(shop / "shop.index" / "model", tmp_path / "checkpoint")
    (checkpoint / "tokenizer").mkdir()
    (checkpoint / "tokenizer" / "words.txt").write_text("a red mug")
    put_inside(tmp_path / "i", eml.load(checkpoint))
    copied = tmp_path / "i" / "model"
    assert {path.relative_to(copied) for path in copied.rglob("*")} == {
        path.relative_to(checkpoint) for path in checkpoint.rglob("*")
    }
