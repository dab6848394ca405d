"""Names of backbones without importing their packages, and columns."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from eml.cli.completing.names import backbones, columns, models, timm_names


def texts(words: object) -> list[str]:
    return [word.text for word in words.words]  # type: ignore[attr-defined]


def test_without_a_prefix_the_usual_backbones_are_offered_with_one_all_of_timm() -> None:
    usual = texts(backbones(""))
    assert "mobilenetv2_100" in usual
    assert "open_clip:" in usual
    assert len(usual) < 40
    assert "mobilenetv2_050" in timm_names("mobilenetv2")
    assert timm_names("mobilenetv2_100") == ["mobilenetv2_100", "mobilenetv2_100.ra_in1k"]
    assert timm_names("mobilenetv2_100.") == ["mobilenetv2_100.ra_in1k"]


def test_models_without_training_have_the_prefix_of_their_package() -> None:
    assert texts(models("ti")) == ["timm:"]
    assert texts(models("timm:mobilenetv2_05")) == ["timm:mobilenetv2_050", "timm:mobilenetv2_050.lamb_in1k"]
    if find_spec("open_clip") is None:  # which is not imported, for seconds
        pytest.skip("open_clip_torch is not installed")
    assert "open_clip:ViT-B-32/" in texts(models("open_clip:ViT-B-3"))
    assert texts(models("open_clip:ViT-B-32/open")) == ["open_clip:ViT-B-32/openai"]


@pytest.mark.wide
def test_all_of_timms_models_are_read_from_its_files() -> None:
    import timm

    assert timm_names("") == sorted(timm.list_models())


def test_columns_are_those_of_the_newest_table_and_of_an_index(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.csv").write_text("file_name,label,old\n")
    (tmp_path / "folds.csv").write_text('\ufefffile_name,label,"a ""b"", c"\n', encoding="utf-8")
    assert texts(columns(str(tmp_path), "")) == ['a "b", c']
    assert texts(columns(str(tmp_path / "dataset_info.csv"), "l", grouping=False)) == ["label"]
    for source in (None, "missing", str(tmp_path / "missing.csv"), "~nobody/x"):
        assert not columns(source, "").words
    (tmp_path / "index.sqlite").write_text("no database")
    assert not columns(str(tmp_path), "").words
    assert {path.name for path in tmp_path.iterdir()} == {"dataset_info.csv", "folds.csv", "index.sqlite"}


def test_completing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from eml.cli.completing.shells import completions_of; completions_of(['evaluate'], 'timm:mob');"
        "print(sorted({'torch', 'timm', 'pandas', 'pydantic', 'typer', 'rich', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
