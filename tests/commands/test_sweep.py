"""`eml sweep`: settings are run once, compared over seeds and classes, and a failure loses the others nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.app import main
from eml.errors import ConfigError, DataError
from eml.reports.sweep import write_latex, write_markdown

SMALL = ("image.size=32", "batch_size=8", "epochs=1")


def test_runs_on_features_are_compared_and_not_repeated(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", photos / "config.yaml", "--vary", "margin=arcface,cosface", "seed=0,1", "--stage", "features"]
    words += [word for item in SMALL for word in ("--set", item)]
    words += ["--csv", photos / "t.csv", "--markdown", photos / "t.md", "--latex", photos / "t.tex"]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr()
    assert "margin=cosface" in shown.out
    assert "±" in shown.out
    out = photos / "run-sweep"
    facts = json.loads((out / "sweep.json").read_text())
    assert [(row["setting"], row["runs"], row["failed"]) for row in facts["settings"]] == [
        ("margin=arcface", 2, 0),
        ("margin=cosface", 2, 0),
    ]
    first, second = facts["settings"]
    assert first["difference"] is None
    gap = second["metrics"]["map_at_r"]["mean"] - first["metrics"]["map_at_r"]["mean"]
    assert second["difference"]["value"] == pytest.approx(gap, abs=1e-9)  # paired, over the same queries
    assert (photos / "t.csv").read_text().startswith("setting,runs,MAP@R")
    assert (out / "sweep.png").stat().st_size > 5_000
    run = Path(facts["runs"][0]["folder"])
    assert eml.load(run).size > 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/run.json")}
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    assert "4 of 4 runs are finished and not repeated" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    changed = [str(word) for word in words] + ["--set", "epochs=2"]
    assert main(changed) == 2
    assert "differs in epochs" in capsys.readouterr().err


def test_every_problem_of_every_setting_is_reported_before_anything_runs(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        eml.sweep(photos / "config.yaml", vary=["margin=arcface,arcfce", "epochs=1,0"])
    assert len(caught.value.problems) == 2
    assert not (photos / "run-sweep").exists()
    with pytest.raises(ConfigError, match="the same setting"):
        eml.sweep(photos / "config.yaml", vary="epochs=1,01", overrides=SMALL[:2])
    with pytest.raises(ConfigError, match="two values"):
        eml.sweep(photos / "config.yaml", vary="epochs=1")


def test_whole_runs_go_on_and_one_that_fails_loses_the_others_nothing(photos: Path) -> None:
    broken = photos / "broken.safetensors"
    broken.write_bytes(b"no weights")
    vary = f"model.weights=none,{broken}"
    result = eml.sweep(photos / "config.yaml", vary=vary, overrides=SMALL)
    assert list(result.failures) == [f"model.weights={broken}"]
    assert "safetensors" in result.failures[f"model.weights={broken}"]
    assert [len(setting.runs) for setting in result.values.settings] == [1, 0]
    again = eml.sweep(photos / "config.yaml", vary=vary, overrides=SMALL)
    assert "1 of 2 runs are finished and not repeated" in "\n".join(again.messages)


def test_failed_runs_are_named_and_end_with_the_code_of_what_can_be_mended(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: Any, *arguments: Any, **options: Any) -> None:
        raise DataError(f"{config.output.name}: its disk is full")

    monkeypatch.setattr("eml.training.sweep.running.run_here.__defaults__", (fail, None))
    assert main(["sweep", str(photos / "config.yaml"), "--vary", "epochs=1,2"]) == 2
    told = capsys.readouterr().err
    assert told.count(": its disk is full") == 2
    assert "no run of the sweep has ended well" in told
    assert "data.fold" not in told, "nothing is wrong with the folds"


@pytest.mark.wide
def test_runs_in_processes_equal_those_in_this_one(photos: Path) -> None:
    here = eml.sweep(photos / "config.yaml", vary="seed=0,1", overrides=SMALL)
    there = eml.sweep(photos / "config.yaml", vary="seed=0,1", overrides=SMALL, jobs=2, out=photos / "there")
    for first, second in zip(here.values.settings[0].runs, there.values.settings[0].runs, strict=True):
        assert first.values == second.values


def test_tables_escape_what_their_format_reads_otherwise(tmp_path: Path) -> None:
    columns, rows = ["setting", "MAP@R"], [["model.weights=a_b|c", "0.500 ± 0.010"]]
    markdown = write_markdown(tmp_path / "t.md", columns, rows).read_text().splitlines()
    assert markdown[2] == "| model.weights=a_b\\|c | 0.500 ± 0.010 |"
    assert r"model.weights=a\_b|c & 0.500 $\pm$ 0.010 \\" in write_latex(tmp_path / "t.tex", columns, rows).read_text()
