"""The texts of classes."""

from pathlib import Path

import pandas as pd
import pytest

from eml.config import load
from eml.errors import ConfigError, DataError
from eml.texts.class_texts import ClassTexts, texts_of
from eml.training.config import RunConfig

FRAME = pd.DataFrame(
    {
        "label": ["red_mug", "red_mug", "bowl", "bowl", "bowl"],
        "description": ["a  mug", "a mug", "a bowl", "", "deep\nbowl"],
        "colour": ["red", "red", "", "blue", "blue"],
    }
)


def texts(frame: pd.DataFrame | None = FRAME, labels: tuple[str, ...] = ("red_mug", "bowl"), **keys: object) -> object:
    return texts_of(frame, labels, ClassTexts.model_validate(keys), "photos.csv")


def test_a_label_is_its_own_text_with_spaces_for_underscores() -> None:
    assert texts() == [("red mug",), ("bowl",)]
    assert texts(None, template="a photo of a {label}") == [("a photo of a red mug",), ("a photo of a bowl",)]


def test_each_template_is_filled_with_each_text_of_a_class_and_rows_without_one_are_left_out() -> None:
    assert texts(column="description") == [("a mug",), ("a bowl", "deep bowl")]
    assert texts(column="description", template=["{label}", "here: {label}, {colour}"]) == [
        ("a mug", "here: a mug, red"),
        ("deep bowl", "here: deep bowl, blue"),
    ]
    assert texts(template="{colour} {label}") == [("red red mug",), ("blue bowl",)]


def test_the_order_of_the_rows_has_no_influence() -> None:
    assert texts(FRAME[::-1], column="description") == texts(column="description")


def test_every_class_without_text_is_named() -> None:
    frame = pd.DataFrame({"label": ["a", "b", "c"], "d": ["", "text", None]})
    with pytest.raises(DataError) as error:
        texts(frame, ("a", "b", "c"), column="d")
    assert [problem.code for problem in error.value.problems] == ["missing-text"] * 2
    assert error.value.problems[0] == (
        "photos.csv: class 'a' has no image with a text in 'd'. Give it one, or leave the class out"
    )


def test_a_missing_column_is_reported_with_those_that_there_are() -> None:
    with pytest.raises(DataError, match=r"`column`: no column 'descr'; photos.csv has the columns label, description"):
        texts(column="descr")
    with pytest.raises(DataError, match=r"`template`: no column 'colour'; there is no table with columns"):
        texts(None, template="{colour}")


def test_names_of_a_file_take_the_place_of_labels(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("label,text\nbowl,a deep bowl\nred_mug,a mug\n")
    names = tmp_path / "names.csv"
    assert texts(names=names, template="{label}!") == [("a mug!",), ("a deep bowl!",)]
    with pytest.raises(DataError, match=r"names.csv: no text for class 'cup'. Give it one"):
        texts(None, ("bowl", "cup"), names=names)
    with pytest.raises(DataError, match="`column` and `names` both give the texts"):
        texts(names=names, column="description")


def test_the_name_of_a_dataset_before_a_label_is_no_part_of_the_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": ["shoes:red_boot", "a:b"], "dataset": ["shoes", "bags"]})
    labels = ("shoes:red_boot", "a:b")
    assert texts(frame, labels) == [("red boot",), ("a:b",)]
    (tmp_path / "n.txt").write_text("red_boot\ta boot\na:b\tab\n")
    assert texts(frame, labels, names=tmp_path / "n.txt") == [("a boot",), ("ab",)]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a photo", "has no {label} and no {COLUMN}"),
        ("a {label", "has a brace without its partner"),
        ("a {label.upper}", "may have names of columns in braces and nothing else"),
        ("a {label!r:>30}", "may have names of columns in braces and nothing else"),
        ("a {}", "has braces without a name"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, message: str) -> None:
    with pytest.raises(ValueError, match="template") as error:
        ClassTexts(template=(template,))
    assert message in str(error.value)


def test_in_a_config_a_template_may_be_one_text_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "minilm").mkdir()
    (tmp_path / "run.yaml").write_text(
        "output: run\ndata: {table: t.csv}\n"
        "class_texts: {template: 'a photo of a {label}', encoder: st:minilm, names: names.csv}\n"
    )
    section = load(RunConfig, tmp_path / "run.yaml").class_texts
    assert section is not None
    assert section.template == ("a photo of a {label}",)
    assert section.encoder == f"st:{tmp_path / 'minilm'}"
    assert section.names == tmp_path / "names.csv"
    override = load(RunConfig, tmp_path / "run.yaml", ["class_texts.encoder=st:all-MiniLM-L6-v2"]).class_texts
    assert override is not None
    assert override.encoder == "st:all-MiniLM-L6-v2"


def test_vectors_and_what_they_already_hold_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "output: run\ndata: {table: t.csv}\nclass_texts: {vectors: v.safetensors, encoder: st:x}\n"
    )
    with pytest.raises(ConfigError, match="encoder has no effect beside vectors"):
        load(RunConfig, tmp_path / "run.yaml")
    alone = ClassTexts(vectors=tmp_path / "v.safetensors")
    assert ClassTexts.model_validate(alone.model_dump()) == alone, "a run writes the defaults beside it"
