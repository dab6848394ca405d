from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.cli.app import main
from eml.commands.split import SplitResult
from eml.errors import ConfigError


def test_split_returns_both_sides_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    table = photos / "dataset_info.csv"
    result = eml.split(table, by="ratio", test_ratio=0.25)
    assert isinstance(result, SplitResult)
    assert (result.train["label"].nunique(), result.test["label"].nunique()) == (6, 2)
    assert repr(result) == "SplitResult(train: 24 images of 6 classes, test: 8 images of 2 classes)"
    assert printed_json("split", table, "--by", "ratio", "--test-ratio", 0.25) == result.to_dict()


def test_the_column_may_follow_the_dataset(photos: Path) -> None:
    frame = pd.read_csv(photos / "dataset_info.csv", dtype=str)
    frame["side"] = ["test" if label == "class 3" else "train" for label in frame["label"]]
    frame.to_csv(photos / "mine.csv", index=False)
    assert eml.split(photos / "mine.csv", "side", by="column").counts["test"].classes == 1


def test_a_column_that_cannot_be_split_by_is_told_before_images_are_compared(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(photos / "dataset_info.csv", dtype=str)[["label", "file_name"]].assign(shop="north")
    frame.to_csv(photos / "mine.csv", index=False)
    assert main(["split", str(photos / "mine.csv"), "--by", "column", "shop"]) == 2
    told = capsys.readouterr().err
    assert "column 'shop' must be 'train' or 'test'" in told
    assert "look-alikes" not in told


def test_every_option_that_would_be_ignored_is_a_problem(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        eml.split(photos, test_ratio=0.5, query_share=0.5)
    assert caught.value.problems == [
        '`test_ratio` goes with `by="ratio"`, not with `by="counts"`',
        "`query_share`: only with `query_gallery`",
    ]
    assert {problem.code for problem in caught.value.problems} == {"conflicting-settings"}


def test_the_next_command_groups_the_images_alike(photos: Path) -> None:
    frame = pd.read_csv(photos / "dataset_info.csv", dtype=str)
    frame.assign(**{"the camera": frame["file_name"]}).to_csv(photos / "mine.csv", index=False)
    result = eml.split(photos / "mine.csv", by="ratio", group_by="the camera", threshold=0)
    assert result.next_command is not None
    assert result.next_command.endswith("--group-by 'the camera' --threshold 0")


def test_a_test_of_one_class_is_warned_of_with_the_options_that_measure_something(images: Path) -> None:
    told = 'one class is in the test, so every answer is right and nothing is measured; give `by="ratio"` with '
    assert f"{told}`test_ratio=0.4`" in eml.split(images, by="ratio").messages


def test_the_default_on_small_classes_names_a_split_that_can_be_measured_on(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(images.rglob("*.jpg")):
        if int(path.stem) > 1:
            path.unlink()
    assert main(["split", str(images)]) == 2
    err = capsys.readouterr().err
    assert err.endswith(
        "; --by alternate. To have two classes or more on each side, give --by ratio with --test-ratio 0.4\n"
    )
    assert main(["split", str(images), "--by", "ratio", "--test-ratio", "0.4"]) == 0
    assert "--by class --k 2" not in capsys.readouterr().err, "two classes to train on cannot be folded"
