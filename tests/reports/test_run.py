"""The page of a run: of one that is still going, that an older eml trained, or whose names are hostile."""

import json
import re
from pathlib import Path

import pytest

from eml.reports.curves import draw_curves
from eml.reports.run import summarize_run, write_page
from eml.reports.run.run_charts import MOST_POINTS, loss_chart, metric_chart
from tests.reports.chromium import PROGRAM, Chromium

EVIL = "<img src=x onerror=alert(1)>{{7*7}}"


def made_run(folder: Path, losses: list[float], epochs: int, **facts: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    logs = {
        "steps": [{"step": step + 1, "loss": loss} for step, loss in enumerate(losses)],
        "metrics": [
            {"epoch": epoch, "step": epoch, "map_at_r": 0.25 + 0.125 * epoch, f"{EVIL}/recall_at_1": 0.5}
            for epoch in range(epochs)
        ],
        "timings": [{"epoch": epoch, "step": 0, "phase": "training", "seconds": 70} for epoch in range(epochs)],
    }
    for name, lines in logs.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def page_of(run: Path) -> str:
    write_page(summarize_run(run), f"moved: {EVIL}", run / "run_report.html", command="eml report run")
    return (run / "run_report.html").read_text(encoding="utf-8")


def test_a_run_that_says_nothing_of_itself_has_a_page(tmp_path: Path) -> None:
    page = page_of(made_run(tmp_path / "run", [3.0, 2.0], 2))
    for text in ("1 epochs are done", "37.5 %", "2 min 20 s", "can no longer be read", "None can be shown"):
        assert text in page
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "run.json").write_text("[]")
    page = page_of(empty)
    for text in ("No step is logged yet", "no validation", "No time is logged yet"):
        assert text in page


def test_the_loss_by_labels_is_drawn_where_a_teacher_adds_to_it(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [3.0, 2.0], 1)
    assert "class labels alone" not in page_of(run)
    lines = [{"step": step, "loss": 3.0, "class_loss": 2.0} for step in (1, 2)]
    (run / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(run)
    assert "dashed: that of the class labels alone" in page
    assert page.count("<polyline") == 5, "pale, mean and labels, and two metrics"
    assert draw_curves(run).stat().st_size > 1000


def test_names_of_a_run_are_text_and_the_page_loads_nothing(tmp_path: Path) -> None:
    facts = {
        "command": EVIL,
        "device": EVIL,
        "versions": {EVIL: EVIL},
        "train_images": EVIL,
        "finished": {"verdicts": 3},
    }
    page = page_of(made_run(tmp_path / "run", [1.0], 3, **facts))
    assert "<img src=x" not in page
    assert "{{7*7}}" in page
    assert not re.search(r"https?:|//[a-z]", page.lower())


def test_a_long_run_keeps_the_envelope_of_its_loss_in_few_points() -> None:
    losses = [1 + 0.001 * (step % 7) for step in range(100_000)]
    losses[51_234], losses[70_001] = 9.0, 0.25
    chart = str(loss_chart(list(range(1, 100_001)), losses))
    raw, mean = re.findall(r'<polyline class="(?:raw|line)" points="([^"]*)"', chart)
    heights = [float(point.split(",")[1]) for point in raw.split()]
    assert len(heights) <= MOST_POINTS + 2
    assert len(mean.split()) <= MOST_POINTS
    assert (heights.index(min(heights)), heights.index(max(heights))) == pytest.approx((205, 280), abs=2)
    assert loss_chart([], []) is None
    assert metric_chart([("R@1", [])], None) is None
    assert "R@1" in str(metric_chart([("R@1", [(0, 0.5)])], None))


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_browser_shows_the_page_of_a_run_at_any_width(tmp_path: Path) -> None:
    page_of(made_run(tmp_path / "run", [3.0, 2.5, 1.0] * 30, 9, command="eml train " + "a" * 300))
    with Chromium() as browser:
        for width in (360, 768, 1200):
            browser.open(tmp_path / "run" / "run_report.html", width=width, dark=width == 768)
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            assert browser.asked == []
            assert browser.complaints == []
