import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.cli.app import main
from eml.commands.base import Caller
from eml.commands.train import TrainConfig, TrainDryRunResult, TrainFoldsResult, TrainPreviewResult, TrainResult
from eml.config import load
from eml.errors import ConfigError, Interrupted
from eml.training.events import Event
from tests.commands.conftest import SMALL

pytestmark = pytest.mark.slow

TINY = [word for item in SMALL for word in ("--set", item)]


def epochs_of(run: Path) -> int:
    return load(eml.RunConfig, run / "config.yaml").epochs


def test_train_returns_the_run_and_what_json_prints(
    photos: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.train(photos / "config.yaml", overrides=SMALL, output=str(tmp_path / "a"))
    assert isinstance(result, TrainResult)
    assert result.folder == tmp_path / "a"
    assert result.next_command == f"eml evaluate {tmp_path}/a --data {photos}/dataset_test.csv"
    assert result.unseen_classes == 3
    assert "R@1" in result._repr_html_()
    assert repr(result).startswith("TrainResult(unseen classes: MAP@R ")
    facts = json.loads((result.folder / "run.json").read_text())
    assert facts["validations"][""]["question"] == "unseen classes"
    assert facts["validation_question"] == "unseen classes"
    assert facts["task"] == "open"
    printed = printed_json("train", photos / "config.yaml", *TINY, "--set", f"output={tmp_path}/b")
    assert printed == json.loads(json.dumps(result.to_dict())) | {"folder": f"{tmp_path}/b"}


def test_the_end_of_a_run_counts_the_test_images_that_the_run_it_started_from_was_trained_on(
    photos: Path, tmp_path: Path
) -> None:
    copy = pd.read_csv(photos / "dataset_test.csv").assign(label=lambda frame: "my " + frame["label"])
    copy.to_csv(photos / "copy.csv", index=False)
    over_copy = [*SMALL, f"data.table={photos / 'copy.csv'}", "data.fold=null", f"output={tmp_path / 'x'}"]
    eml.train(photos / "config.yaml", overrides=over_copy)
    start = [*SMALL, f"model.weights={tmp_path / 'x'}", f"output={tmp_path / 'y'}"]
    result = eml.train(photos / "config.yaml", overrides=start)
    assert isinstance(result, TrainResult)
    assert result.unseen_classes == 0, "the run before saw their images, under other labels"


def test_a_key_of_the_config_is_a_parameter_and_an_option(photos: Path, tmp_path: Path) -> None:
    config = photos / "config.yaml"
    eml.train(config, overrides=SMALL[:2], epochs=2, output=str(tmp_path / "a"))
    assert epochs_of(tmp_path / "a") == 2
    words = [*TINY[:4], "--epochs", "2", "--margin", "cosface", f"--output={tmp_path}/b", str(config)]
    assert main(["train", *words]) == 0
    run = load(eml.RunConfig, tmp_path / "b" / "config.yaml")
    assert (run.epochs, run.margin.type) == (2, "cosface")  # type: ignore[attr-defined]


def test_a_key_that_is_none_names_the_nearest(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="unknown key 'epoch' \\(did you mean 'epochs'\\?\\)"):
        eml.train(photos / "config.yaml", epoch=3)
    assert main(["train", str(photos), "--epoch", "3"]) == 2
    assert "--set epoch=3: unknown key 'epoch' (did you mean 'epochs'?)" in capsys.readouterr().err


def test_settings_that_do_not_fit_together_are_told_with_their_lines_all_at_once(photos: Path) -> None:
    file, overrides = photos / "config.yaml", ["loss=contrastive_text", "margin=adacos"]
    lines = file.read_text().splitlines()
    neck = 1 + next(number for number, line in enumerate(lines) if line.startswith("  neck:"))
    scale = 1 + next(number for number, line in enumerate(lines) if line.startswith("  scale:"))
    with pytest.raises(ConfigError) as refused:
        eml.train(file, overrides=overrides)
    starts = [f"{file}:{neck}: model.neck: ", "`overrides` margin=adacos: margin: ", f"{file}:{scale}: head.scale: "]
    assert [problem.startswith(start) for problem, start in zip(refused.value.problems, starts, strict=True)] == [
        *(True, True, True)
    ]


@pytest.mark.parametrize("words", [["--resum"], ["--resum", "{photos}"], ["{photos}", "--resum"]])
def test_a_misspelt_option_names_the_nearest(
    words: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *(word.format(photos=photos) for word in words)]) == 2
    assert "No such option: --resum (Possible options: --resume)" in capsys.readouterr().err


def test_a_run_config_is_trained_as_it_is(photos: Path, tmp_path: Path) -> None:
    run = load(eml.RunConfig, photos / "config.yaml", [*SMALL, f"output={tmp_path}/a"])
    assert eml.train(run).folder == tmp_path / "a"
    eml.train(run, output=str(tmp_path / "b"), epochs=2)
    assert (epochs_of(tmp_path / "a"), epochs_of(tmp_path / "b")) == (1, 2)


def test_a_dataset_stands_for_its_config_and_a_run_for_what_is_to_be_resumed(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(photos), *TINY]) == 0
    assert f"config: {photos}/config.yaml" in capsys.readouterr().err
    run = photos / "run"
    assert main(["train", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"{run}: is the folder of a run. Set --resume to continue it; to train anew, give {run}/config.yaml with "
        "another output\n"
    )
    with pytest.raises(ConfigError) as caught:
        eml.train(run)
    assert (caught.value.code, caught.value.parameter) == ("is-a-run", "config")
    assert main(["train", str(run), "--resume"]) == 0
    assert "resumed at step" in capsys.readouterr().err
    with pytest.raises(ConfigError) as nothing:
        eml.train(photos / "class 0", resume=True)
    assert nothing.value.code == "not-a-run"


def test_a_dataset_without_a_config_gets_the_one_that_init_writes(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "--set", "model.backbone=test_resnet", "--set", "model.weights=none"]
    assert main(["train", str(images), *words, "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert f"no config.yaml in {images}: writing one, as eml init does" in err
    assert load(eml.RunConfig, images / "config.yaml").model.backbone == "mobilenetv2_100"


def test_a_dry_run_and_a_preview_have_results_of_their_own(photos: Path, tmp_path: Path) -> None:
    config = photos / "config.yaml"
    dry = eml.train(config, overrides=SMALL, dry_run=True)
    assert isinstance(dry, TrainDryRunResult)
    assert dry.dry_run.steps > 0
    sheet = eml.train(config, overrides=SMALL, preview=True, out=tmp_path / "sheet.png")
    assert isinstance(sheet, TrainPreviewResult)
    assert sheet.written == (tmp_path / "sheet.png",)


@pytest.mark.wide
def test_all_folds_have_a_result_of_their_own(photos: Path, tmp_path: Path) -> None:
    config = photos / "config.yaml"
    folds = eml.train(config, overrides=SMALL, fold="all", output=str(tmp_path / "folds"))
    assert isinstance(folds, TrainFoldsResult)
    assert list(folds.folds.folds) == [0, 1]
    assert "±" in folds._repr_html_()
    found = eml.suspects(folds.folds.folder)
    assert found.written[-1] == tmp_path / "folds" / "suspects.html"
    assert found.counts["images"] == 20
    shutil.rmtree(tmp_path / "folds")


def test_options_go_together(photos: Path) -> None:
    with pytest.raises(ConfigError, match="`accept_changes`: only with `resume`"):
        eml.train(photos, accept_changes=True)
    with pytest.raises(ConfigError, match="`fold` must be a number, all or null, got 'first'"):
        eml.train(photos, fold="first")


def test_a_stop_before_the_run_began_says_what_is_there(pipeline: Path, photos: Path, tmp_path: Path) -> None:
    @contextmanager
    def stopped() -> Iterator[Callable[[Event], None]]:
        raise KeyboardInterrupt
        yield

    run = str(shutil.copytree(pipeline / "run", tmp_path / "run"))
    for words, rest in (
        (
            {"overrides": [f"output={tmp_path / 'new'}"]},
            "began: no run folder was made, and the same command begins it",
        ),
        ({"overrides": [f"output={run}"], "overwrite": True}, f"began: the one in {run} is as it was"),
        ({"config": run, "resume": True}, "went on: it is as it was, and the same command continues it"),
    ):
        config = TrainConfig.model_validate({"config": photos / "config.yaml"} | words)
        with pytest.raises(Interrupted) as stop:
            eml.train.run(config, Caller(live=stopped))  # type: ignore[attr-defined]
        assert str(stop.value) == f"interrupted before the run {rest}"
    assert not (tmp_path / "new").exists()


def test_a_run_to_resume_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder or file, so there is no run to resume") as refused:
        eml.train(tmp_path / "run", resume=True)
    assert (refused.value.code, refused.value.parameter) == ("missing-file", "config")
