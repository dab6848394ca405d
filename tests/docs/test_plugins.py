"""docs/plugins.md: its files train, resume, load, evaluate and export; and nothing is imported that no user names."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.adapter import Terminal
from eml.commands.with_plugins import WITH_PLUGINS
from eml.config.plugins import forget_plugins, loaded_plugins
from eml.errors import EmlError
from tests.commands.conftest import draw
from tests.docs.plugin_page import page_files, write_files
from tests.test_public_api import terminals

pytestmark = pytest.mark.usefixtures("plugins_forgotten")

RUN: dict[str, Any] = {
    "recipe": "none",
    "image": {"size": 32},
    "augment": "none",
    "margin": {"type": "soft_cos", "m": 0.3},
    "loss": "poly1",
    "sampler": "class_uniform",
    "model": {"backbone": "stack:4", "weights": "none", "neck": {"type": "bottleneck", "size": 8, "width": 4}},
    "validation": {"metric": "precision_at_3"},
    "head": {"scale": 8},
    "epochs": 2,
    "batch_size": 4,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with all plugins of the page: not to be changed."""
    place = tmp_path_factory.mktemp("plugins")
    return train(place)


def train(place: Path, **settings: object) -> Path:
    """Train with all plugins of the page, in the folder `own` beside the images; return the run's folder."""
    draw(place / "photos", classes=6)
    names = [path.name for path in write_files(place / "own")]
    table = {"table": "../photos", "workers": 0}
    config = RUN | {"plugins": names, "output": "../run", "data": table, **settings}
    (place / "own" / "run.yaml").write_text(json.dumps(config))
    try:
        eml.train(place / "own" / "run.yaml")
    finally:
        forget_plugins()
    return place / "run"


def test_the_run_used_them_all_and_its_checkpoint_names_those_that_the_network_needs(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    assert {plugin["name"] for plugin in facts["plugins"]} == set(page_files())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["precision_at_3"] <= 1 for line in lines)
    config = json.loads(next((run / "checkpoints").glob("epoch-*/config.json")).read_text())
    needed = {plugin["name"]: (plugin["necks"], plugin["backbones"]) for plugin in config["plugins"]}
    assert needed == {"my_backbone.py": ([], ["stack:4"]), "my_neck.py": (["bottleneck"], [])}
    assert config["format"] == 9


def test_loading_it_without_them_imports_nothing_and_says_which_to_give(run: Path) -> None:
    """As a run folder that came from elsewhere: its files are there, named by path in its config.yaml."""
    for load in (lambda: eml.load(run), lambda: eml.evaluate(run, data=run.parent / "photos")):
        with pytest.raises(EmlError) as raised:
            load()
        assert {problem.code for problem in raised.value.problems} == {"needs-plugin"}
        assert "neck 'bottleneck', which the plugin my_neck.py (SHA-256 " in str(raised.value)
        assert "`plugins=my_backbone.py`" in str(raised.value)
    assert not loaded_plugins()
    assert not any(name.startswith("eml_plugin_") for name in sys.modules)


def test_a_run_of_someone_else_is_resumed_with_named_plugins_alone(run: Path) -> None:
    for config in (run, run / "config.yaml"):
        with pytest.raises(EmlError) as raised:
            eml.train(config, resume=True)
        assert raised.value.code == "needs-plugin"
    assert eml.train(run, resume=True, plugins=[run.parent / "own" / name for name in page_files()]).folder == run


def test_a_config_that_is_found_in_a_folder_imports_nothing(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parent / "own", tmp_path / "photos")
    (tmp_path / "photos" / "run.yaml").rename(tmp_path / "photos" / "config.yaml")
    with pytest.raises(EmlError, match=r"name the config itself: eml train .*config\.yaml") as raised:
        eml.train(tmp_path / "photos")
    assert raised.value.code == "needs-plugin"
    assert not loaded_plugins()


def test_loading_it_with_them_works_and_a_changed_file_is_noted(run: Path, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    model = eml.load(run, device="cpu", plugins=files)
    assert not model.notes
    assert model.embed([run.parent / "photos" / "class 0" / "0.jpg"]).shape == (1, 8)
    with (tmp_path / "my_neck.py").open("a") as file:
        file.write("# mended\n")
    (note,) = eml.load(run, device="cpu", plugins=files).notes
    assert note.startswith("plugin my_neck.py is not as it was when the checkpoint was written")


def test_margins_are_listed_and_described(tmp_path: Path) -> None:
    write_files(tmp_path)
    info = eml.list_margins("soft_cos", plugins=[tmp_path / "my_margin.py"]).margins["soft_cos"]
    assert (info.defaults, info.scale) == ({"m": 0.2}, 32.0)


def test_the_commands_that_take_plugins_are_those_that_following_commands_are_given_them() -> None:
    commands = {name: terminal for name, terminal in terminals().items() if isinstance(terminal, Terminal)}
    assert {name for name, own in commands.items() if "plugins" in own.config_type.model_fields} == WITH_PLUGINS
