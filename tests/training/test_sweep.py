"""The grid of a sweep and the table of what its runs gave."""

import json
import sys
from pathlib import Path

import pytest

from eml.config import load_plugins
from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.training.config import RunConfig
from eml.training.sweep.feature_runs import refuse_without_effect
from eml.training.sweep.plan import PlannedRun, differing_keys
from eml.training.sweep.results import _values_of
from eml.training.sweep.running import run_here
from eml.training.sweep.settings import Axis, Setting, grid, read_axes
from tests.training.runs import changed


def test_a_grid_has_every_combination_the_last_key_fastest() -> None:
    axes = read_axes(["margin=arcface,cosface seed=0,1,2"])
    assert axes == [Axis("margin", ("arcface", "cosface")), Axis("seed", ("0", "1", "2"))]
    settings = grid(axes)
    assert [setting.name for setting in settings[:4]] == [
        "margin=arcface, seed=0",
        "margin=arcface, seed=1",
        "margin=arcface, seed=2",
        "margin=cosface, seed=0",
    ]
    assert [setting.group for setting in settings[2:4]] == ["margin=arcface", "margin=cosface"]
    assert len({setting.folder for setting in settings}) == 6
    assert Setting((("seed", "1"),)).group == "as the config says"


def test_commas_and_spaces_within_brackets_and_quotes_divide_nothing() -> None:
    axes = read_axes(
        ["augment={type: strong, flip: 0},light", "optimizer.lr.backbone=1e-4, 3e-5", 'image.mean="a,b",c']
    )
    assert axes[0].values == ("{type: strong, flip: 0}", "light")
    assert axes[1].values == ("1e-4", "3e-5")
    assert axes[2].values == ('"a,b"', "c")
    folder = grid(axes)[0].folder
    assert "/" not in folder
    assert " " not in folder
    assert len(folder) <= 100


def test_all_that_is_wrong_with_the_keys_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_axes(["margin", "seed=0,,1", "epochs=1,2", "epochs=3,4", "loss=focal,focal"])
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["not-an-override", "not-an-override", "conflicting-settings", "conflicting-settings"]


def test_keys_that_do_nothing_to_features_are_refused_at_once() -> None:
    refuse_without_effect(
        [Axis("margin.m", ("1", "2")), Axis("optimizer.lr.neck", ("1", "2")), Axis("image.size", ("1",))]
    )
    with pytest.raises(ConfigError) as caught:
        refuse_without_effect(
            [
                *(Axis("augment", ("a", "b")), Axis("optimizer.lr.backbone", ("1",)), Axis("seed", ("1",))),
                *(Axis("head.init", ("means", "text")), Axis("text", ("anchor",))),
            ]
        )
    assert [str(problem).partition(":")[0] for problem in caught.value.problems] == [
        "`vary` augment",
        "`vary` optimizer.lr.backbone",
        "`vary` head.init",
        "`vary` text",
    ]


def test_two_configs_differ_in_dotted_keys() -> None:
    first, second = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "d": [2], "e": None}
    assert differing_keys(first, second) == ["a.c", "d"]


def test_of_a_run_in_stages_the_figures_are_those_of_the_trained_network(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lines = [{"epoch": epoch, "step": epoch, "map_at_r": 0.2 + 0.1 * epoch} for epoch in (0, 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "timings.jsonl").write_text("")
    whole = {"before": {"epoch": 0, "map_at_r": 0.1}, "best": {"epoch": 1, "map_at_r": 0.9, "other/map_at_r": 0.7}}
    facts = {"stages": {"steps": []}, "finished": {"best_epoch": 1, "whole": whole}}
    (run / "run.json").write_text(json.dumps(facts))
    planned = PlannedRun(Setting((("seed", "1"),)), RunConfig(output=run, data={"table": "t.csv"}), "finished")
    values = _values_of(planned)
    assert (values.values["map_at_r"], values.before["map_at_r"]) == pytest.approx((0.3, 0.2))
    assert values.values["other/map_at_r"] == 0.7
    (run / "run.json").write_text(json.dumps(facts | {"stages": None}))
    assert _values_of(planned).values["map_at_r"] == 0.9


EXITING = """
import sys
from typing import Literal
from eml.images.augment import Augment

class Leaving(Augment):
    type: Literal["leaving"] = "leaving"

    def build(self, preprocess):
        return None

def leave(*_, **__):
    sys.exit()
"""


@pytest.mark.usefixtures("plugins_forgotten")
def test_a_plugin_that_ends_the_process_fails_its_run_alone(config: RunConfig, table: Table, tmp_path: Path) -> None:
    (file := tmp_path / "leaving.py").write_text(EXITING)
    (plugin,) = load_plugins(file)
    runs = [PlannedRun(Setting((("seed", seed),)), changed(config, output=tmp_path / seed), "new") for seed in "01"]
    failures = run_here(runs, table, print, lambda: None, train=sys.modules[plugin.module].leave)
    line = f"{file}:13: plugin leaving.py raises SystemExit"
    assert failures == {"seed=0": line, "seed=1": line}
