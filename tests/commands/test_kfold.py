import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.kfold import KFoldResult
from eml.commands.next_steps import is_table_of


def test_kfold_returns_its_frame_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    table = photos / "dataset_info.csv"
    result = eml.kfold(table, k=4, near=False)
    assert isinstance(result, KFoldResult)
    assert sorted(result.frame["fold"].unique()) == [0, 1, 2, 3]
    assert repr(result) == "KFoldResult(4 folds of 8, 8, 8, 8 images)"
    assert printed_json("kfold", table, "--k", 4, "--no-near") == result.to_dict()


def _aliases() -> str:
    lists = [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 12)]
    return "\n".join(["a0: &a0 [x]", *lists, "data: {table: *a11}"])


@pytest.mark.parametrize(
    "config",
    [
        "[" * 1_200,
        _aliases(),
        "data: {table: [5, [folds.csv], {root: x}, null]}",
        'data: {table: "\\0"}',
        "!!python/object:os.system x",
        "data: &d {table: *d}",
        "x" * 2_000_000,
        "\udc00",
        None,
    ],
    ids=lambda text: str(text)[:12],
)
def test_a_config_of_the_datasets_own_is_left_for_train_to_report(
    photos: Path, tmp_path: Path, config: str | None
) -> None:
    if config is None:
        os.mkfifo(tmp_path / "config.yaml")
    else:
        (tmp_path / "config.yaml").write_text(config, encoding="utf-8", errors="surrogatepass")
    result = eml.kfold(photos, k=4, near=False, out=tmp_path)
    assert result.next_command == f"eml train {tmp_path}/config.yaml"


@pytest.mark.parametrize("name", ["folds.csv", "./folds.csv", "[other.csv, {table: folds.csv}]", "'a/../folds.csv'"])
def test_a_config_names_the_folds_in_any_spelling(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").write_text(f"data: {{table: {name}}}")
    (tmp_path / "loop").symlink_to("loop")
    assert is_table_of(tmp_path / "config.yaml", tmp_path / "folds.csv")
    assert not is_table_of(tmp_path / "config.yaml", tmp_path / "other-folds.csv")
    (tmp_path / "config.yaml").write_text("data: {table: [loop, 5]}")
    assert not is_table_of(tmp_path / "config.yaml", tmp_path / "folds.csv")
