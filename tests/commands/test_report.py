import html
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.report import ReportResult, RunReportResult
from eml.errors import ConfigError, DataError
from eml.training.moved_run import load_run_config
from eml.training.run_folder import RunFolder
from eml.training.stages.steps import StagesResult


def test_report_returns_the_numbers_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.report(photos)
    assert isinstance(result, ReportResult)
    assert result.written == (photos / "data_report.html",)
    assert "images" in result._repr_html_()
    assert printed_json("report", photos) == result.to_dict()


def test_report_of_a_run_shows_its_values_verdict_and_augmented_images(
    pipeline: Path, photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    run = Path(shutil.copytree(pipeline / "run", photos / "run"))
    result = eml.report(run)
    assert isinstance(result, RunReportResult)
    assert result.written == (run / "run_report.html",)
    assert result.run.state == "finished after 1 of 1 epochs"
    assert printed_json("report", run) == result.to_dict()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (fold,) = result.run.validations
    assert [line["map_at_r"] for line in fold.lines] == [line["map_at_r"] for line in lines]
    facts = json.loads((run / "run.json").read_text())
    verdict = result.run.verdicts[""]
    assert facts["finished"]["verdicts"][""]["after"] == verdict.after == pytest.approx(lines[1]["map_at_r"])
    ends = {
        name: {"epoch": epoch, "map_at_r": value} for name, epoch, value in (("before", 0, 0.125), ("best", 1, 0.875))
    }
    facts["finished"]["whole"] = ends  # of a run in stages, what it gives
    facts["stages"] = StagesResult("MAP@R", (), 0.25, "untouched network", 0.25, "none", 1).to_dict()
    (run / "run.json").write_text(json.dumps(facts))
    _, rows = eml.report(run, overwrite=True).summary_table()
    assert ["the run gives", "untouched network"] in rows
    assert ["MAP@R of the stages", "0.250 untouched, 0.250 of what the run gives"] in rows
    assert ["MAP@R", "0.125 before training, 0.875 at best"] in rows
    page = (run / "run_report.html").read_text(encoding="utf-8")
    assert verdict.lines()[0] in html.unescape(page)
    assert page.count('src="data:image/webp') == 4 * 6
    assert "12.5 % before training" in page


def test_report_refuses_what_a_run_has_no_use_for_and_a_folder_of_runs(pipeline: Path, photos: Path) -> None:
    with pytest.raises(ConfigError, match="`threshold`: only of a dataset"):
        eml.report(pipeline / "run", threshold=3)
    (photos / "folds" / "fold-0").mkdir(parents=True)
    (photos / "folds" / "folds.json").write_text("{}")
    (photos / "folds" / "fold-0" / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"has the runs of several folds; give one of them: .*fold-0"):
        eml.report(photos / "folds")


def test_a_run_that_is_replaced_takes_its_page_with_it(pipeline: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pipeline / "run", tmp_path / "run"))
    eml.report(run)
    removed = RunFolder(run).create(load_run_config(run / "config.yaml"), {}, overwrite=True)
    assert removed == [run / "run_report.html"]
    assert not list(run.glob("run_report*"))
