"""Each place of a command line is completed."""

from pathlib import Path

import pytest

from eml.cli.completing.completions import Completions, FileKind
from eml.cli.completing.shells import completions_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a dataset and configs, one of them broken."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "folds.csv").write_text("file_name,label,fold,camera,track id\na/b.jpg,a,0,1,2\n")
    (tmp_path / "run.yaml").write_text(
        "output: run\nmargin: {type: cosface, m: 0.2}\ndata: {table: photos/folds.csv}\n"
    )
    (tmp_path / "broken.yaml").write_text("margin: {type: [\n")
    return tmp_path


def completed(line: str) -> list[str]:
    return [word.text for word in of_line(line).words]


def of_line(line: str) -> Completions:
    *words, current = line.split(" ")
    return completions_of(words, current)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tra", ["train"]),
        ("index b", ["build"]),
        ("config ", ["schema", "example"]),
        ("--v", ["--version"]),
        ("completion z", ["zsh"]),
        ("kfold photos --tas", ["--task"]),
        ("kfold photos --task open --tas", []),
        ("kfold photos --no-", ["--no-near"]),
        ("kfold photos --task ", ["open", "closed"]),
        ("kfold photos --task=c", ["--task=closed"]),
        ("kfold --config c.yaml photos --group-by ", ["fold", "camera", "track id"]),
        ("kfold photos/folds.csv --group-by cam", ["camera"]),
        ("kfold photos --label-column la", ["label"]),
        ("margins arcf", ["arcface"]),
        ("protocol cub", ["cub200"]),
        ("export run out --format on", ["onnx"]),
        ("plot run --metric MAP", ["MAP@R"]),
        ("embed run photos --weights n", ["none"]),
        ("embed run photos --device cu", ["cuda", "cuda:0"]),
        ("nonsense tra", []),
        ("scan photos -- --o", []),
    ],
)
def test_commands_options_choices_and_names(line: str, words: list[str]) -> None:
    assert completed(line) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train run.yaml --set mar", ["margin=", "margin.m="]),
        ("train run.yaml --set margin=arc", ["margin=arcface"]),
        ("train run.yaml --set=margin=arc", ["--set=margin=arcface"]),
        ("train run.yaml -s margin=arcface --set margin.p", ["margin.past_pi="]),
        ("train run.yaml --set margin.p", []),
        ("train run.yaml --set margin.m=", ["margin.m=0.2"]),
        ("train broken.yaml --set margin.m=", ["margin.m=0.5"]),
        ("train missing.yaml --set margin.m=", ["margin.m=0.5"]),
        ("train run.yaml --set optimizer.lr.ba", ["optimizer.lr.backbone="]),
        ("train run.yaml --set head.norm", []),
        ("train run.yaml --set refit=", ["refit=auto", "refit=true", "refit=false"]),
        ("train run.yaml --set validation.metric=MR", ["validation.metric=MRR"]),
        ("train run.yaml --set validation.within=ca", ["validation.within=camera"]),
        ("train run.yaml --set nonsense.x=", []),
        ("train run.yaml --epo", ["--epochs"]),
        ("train run.yaml --recipe ", ["auto", "none"]),
        ("train run.yaml --recipe=n", ["--recipe=none"]),
        ("sweep run.yaml --vary margin=arcface,cosf", ["margin=arcface,cosface"]),
        ("sweep run.yaml margin=cosf", ["margin=cosface"]),
        ("cache run.yaml --set data.cache.f", ["data.cache.format=", "data.cache.folder="]),
    ],
)
def test_keys_and_values_of_a_config(line: str, words: list[str]) -> None:
    assert completed(line) == words


def test_the_config_in_a_folder_says_the_types(folder: Path) -> None:
    (folder / "run.yaml").rename(folder / "photos" / "config.yaml")
    assert completed("train photos --set margin.m=") == ["margin.m=0.2"]


def test_values_that_are_paths_are_files_of_their_kind() -> None:
    config = of_line("train ru")
    assert (config.files, config.words) == (FileKind((".yaml", ".yml")), ())
    table = of_line("train run.yaml --set data.table=ph")
    assert (table.files, table.lead) == (FileKind((".csv", ".parquet")), "data.table=")
    assert of_line("evaluate run --data=ph").lead == "--data="
    assert of_line("index info my").files == FileKind(None)
    assert of_line("evaluate ti").files is not None
    assert of_line("evaluate timm:").files is None


def test_columns_complete_in_a_condition_but_not_within_its_text(folder: Path) -> None:
    where = ["search", "photos/folds.csv", "--where"]
    assert [word.text for word in completions_of(where, "fold > 1 and cam").words] == ["fold > 1 and camera"]
    assert not completions_of(where, "camera == 'cam").words
