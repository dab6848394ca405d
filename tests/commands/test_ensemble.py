"""`eml ensemble`: one folder of several models that the other commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import eml
from eml.cli.display.ensemble import terminal
from eml.errors import ConfigError, OutputError
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from tests.commands.conftest import draw


def shaken(run: Path, folder: Path, seed: int) -> Path:
    """Write the run's checkpoint with weights that are moved a little."""
    stored = load_checkpoint(run)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in stored.embedder.parameters():
            weight += 0.3 * weight.std(correction=0) * torch.randn_like(weight)
    config = stored.config
    save_checkpoint(folder, stored.embedder, config.model, config.preprocess, stored.labels, {})
    return folder


def test_an_ensemble_is_one_checkpoint_that_other_commands_take(
    pipeline: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    test, out = pipeline / "dataset_test.csv", tmp_path / "one"
    second = shaken(pipeline / "run", tmp_path / "second", 1)
    printed = printed_json("ensemble", pipeline / "run", second, "--out", out, "--data", test)
    single = eml.load(pipeline / "run").size
    assert (printed["size"], printed["by"]) == (2 * single, "embeddings")
    assert printed["members"] == [str(pipeline / "run"), str(second)]
    evaluated = eml.evaluate(out, data=test, out=tmp_path / "again", report=False)
    assert evaluated.results[0].metrics["map_at_r"] == pytest.approx(printed["map_at_r"])
    eml.calibrate(out, data=pipeline / "folds.csv", pair_far=0.3, strict=False)
    assert eml.load(out).calibration is not None
    together = eml.load([pipeline / "run", second])
    eml.Index.build(tmp_path / "index", together, pipeline).close()
    with eml.Index.open(tmp_path / "index") as index:  # which has the model inside, since the two have no one name
        assert index.model.fingerprint.digest == eml.load(out).fingerprint.digest


@pytest.mark.wide
def test_a_compressed_ensemble_keeps_its_members(pipeline: Path, tmp_path: Path) -> None:
    test, members = pipeline / "dataset_test.csv", [pipeline / "run", shaken(pipeline / "run", tmp_path / "second", 1)]
    out = eml.ensemble(members, out=tmp_path / "one").outcome.folder
    eml.compress(out, data=test, fit=pipeline / "folds.csv", sizes=4, keep="pca-4-int8", out=tmp_path / "small")
    assert (eml.load(tmp_path / "small").size, len(load_checkpoint(tmp_path / "small").config.members)) == (4, 2)


def test_a_greedy_soup_takes_only_members_that_help(
    pipeline: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    test = pipeline / "dataset_test.csv"
    members = [pipeline / "run", *(shaken(pipeline / "run", tmp_path / str(seed), seed) for seed in (1, 2))]
    printed = printed_json("ensemble", *members, "--by", "greedy", "--data", test, "--out", tmp_path / "soup")
    tried = printed["tried"]
    assert [member["alone"] for member in tried] == sorted((member["alone"] for member in tried), reverse=True)
    best = tried[0]["alone"]
    for member in tried[1:]:
        assert member["is_member"] == (member["together"] > best)
        best = max(best, member["together"])
    assert printed["map_at_r"] == pytest.approx(best)
    assert printed["chosen_by_all"], "three classes are too few for others to judge"
    assert printed["members"] == [member["name"] for member in tried if member["is_member"]]
    assert eml.load(tmp_path / "soup").size == eml.load(pipeline / "run").size


def test_where_there_are_enough_classes_others_judge_a_soup_than_choose_it(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = draw(tmp_path / "many", classes=24, per_class=3)
    second = shaken(pipeline / "run", tmp_path / "second", 1)
    result = eml.ensemble([pipeline / "run", second], out=tmp_path / "soup", by="greedy", data=many)
    facts = result.to_dict()
    assert facts["chosen_by"] == "12 classes choose, 12 others judge"
    assert (facts["chosen_by_all"], facts["gain"]["judging_classes"]) == (False, 12)
    terminal.show(result)
    shown = capsys.readouterr()
    assert "12 classes choose, 12 others judge" in shown.out
    assert "flatters" not in shown.err


def test_what_cannot_become_one_is_an_error_before_anything_is_written(pipeline: Path, tmp_path: Path) -> None:
    run, out = pipeline / "run", tmp_path / "out"
    with pytest.raises(ConfigError, match="a greedy soup is chosen by its MAP@R"):
        eml.ensemble([run, run], out=out, by="greedy")
    with pytest.raises(ConfigError, match="give two or more"):
        eml.ensemble(run, out=out)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(OutputError, match="exists and is no checkpoint"):
        eml.ensemble([run, run], out=out, overwrite=True)


def test_a_fold_names_one_run_of_a_cross_validation_and_all_of_them_are_one_model(
    pipeline: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folds"
    for fold in range(2):
        member = shaken(pipeline / "run", folder / f"fold-{fold}" / "checkpoints" / "epoch-001", fold)
        member.with_name("best").write_text("epoch-001\n")
        (member.parents[1] / "run.json").write_text("{}")
    (folder / "folds.json").write_text("{}")
    images, single = pipeline / "class 0", eml.load(pipeline / "run").size
    sizes = [eml.embed(folder, images, out=tmp_path / f"{fold}.npz", fold=fold).size for fold in (None, "all", 1)]
    assert sizes == [2 * single, 2 * single, single]
    evaluated = eml.evaluate(folder, data=pipeline / "dataset_test.csv", fold="all", report=False)
    assert evaluated.results[0].folder == folder / "evaluations" / "dataset_test"
    for checkpoint, fold, words in (
        (folder, "2", "has no such run; allowed: 0, 1, all"),
        (pipeline / "run", "all", "`fold` is for the folder of a cross-validation, and .* is none"),
        (folder, "first", "must be a number or all, got 'first'$"),
        (folder, -2, "it names runs of a cross-validation, not rows; give a table of the rows of fold -2"),
    ):
        with pytest.raises(ConfigError, match=words):
            eml.embed(checkpoint, images, out=tmp_path / "x.npz", fold=fold)
