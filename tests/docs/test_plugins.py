"""docs/plugins.md: its files train, resume, load, evaluate and export; and nothing is imported that no user names."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.adapter import Terminal
from eml.commands.with_plugins import WITH_PLUGINS
from eml.config.plugins import forget_plugins, loaded_plugins
from eml.errors import EmlError
from eml.training.moved_run import load_run_data
from tests.commands.conftest import draw
from tests.docs.plugin_page import page_files, write_files
from tests.test_public_api import terminals
from tests.training.runs import left_by

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
    modules = set(sys.modules)
    for load in (lambda: eml.load(run), lambda: eml.evaluate(run, data=run.parent / "photos")):
        with pytest.raises(EmlError) as raised:
            load()
        assert {problem.code for problem in raised.value.problems} == {"needs-plugin"}
        assert "neck 'bottleneck', which the plugin my_neck.py (SHA-256 " in str(raised.value)
        assert "`plugins=my_backbone.py`" in str(raised.value)
    assert not loaded_plugins()
    assert not any(name.startswith("eml_plugin_") for name in set(sys.modules) - modules)


def test_a_run_of_someone_else_is_not_resumed_without_naming_its_plugins(run: Path) -> None:
    for config in (run, run / "config.yaml"):
        with pytest.raises(EmlError) as raised:
            eml.train(config, resume=True)
        assert {problem.code for problem in raised.value.problems} == {"needs-plugin"}
    assert not loaded_plugins()


def test_a_plugin_that_is_not_where_it_was_is_named_without_its_folder(run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    text = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(text.replace(str(run.parent), "/gone"))
    with pytest.raises(EmlError) as raised:
        eml.train(moved, resume=True)
    assert "give it as `plugins=my_neck.py`, with the path where it is here, if you trust" in str(raised.value)
    assert "/gone" not in str(raised.value)


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


def test_what_a_run_was_trained_on_is_known_without_its_plugins_wherever_it_lies(run: Path, tmp_path: Path) -> None:
    for place in (run, Path(shutil.copytree(run.parent, tmp_path / "moved")) / "run"):
        data, task = load_run_data(place / "config.yaml")
        assert (data.table, task) == (place.parent / "photos", "open")
    assert not loaded_plugins()


@pytest.mark.parametrize(
    "name", ["/tmp/my_neck.py", "../my_neck.py", "my_neck.py`; rm x; `", "my\nneck.py", "", "n" * 300]
)  # fmt: skip
def test_a_checkpoint_cannot_name_paths_nor_commands(name: str, run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(next((run / "checkpoints").glob("epoch-*")), tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text())
    config["plugins"] = [{"name": name, "digest": None, "necks": ["bottleneck"], "backbones": []}]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EmlError) as raised:
        eml.load(folder)
    assert raised.value.code == "damaged-file"
    assert "rm x" not in str(raised.value)


def eml_words(*words: object) -> list[str]:
    return [sys.executable, "-m", "eml", *map(str, words)]


ROOT = Path(eml.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def in_new_process(words: list[str], folder: Path) -> str:
    """Run a program in a folder and return what it prints; it must end well."""
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.wide
def test_a_killed_run_resumes_to_the_same_bits_and_is_used_in_new_processes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    settings = {"epochs": 6, "saving": {"steps": 1}, "precision": "float32"}
    whole = train(tmp_path / "whole", **settings)
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "whole" / "own", again / "own")
    shutil.copytree(tmp_path / "whole" / "photos", again / "photos")
    log = again / "run" / "steps.jsonl"
    process = subprocess.Popen(eml_words("train", again / "own" / "run.yaml"), env=ENVIRONMENT, cwd=again)
    while process.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    file, resume = again / "own" / "my_margin.py", eml_words("train", "own/run.yaml", "--resume")
    file.write_text(page_files()[file.name] + "# changed\n")
    done = subprocess.run(resume, cwd=again, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "plugins: ['my_margin.py " in done.stderr
    file.write_text(page_files()[file.name])
    in_new_process(resume, again)
    assert left_by(again / "run") == left_by(whole)

    plugins = [word for name in page_files() for word in ("--plugin", f"own/{name}")]
    in_new_process(eml_words("train", "run", "--resume", *plugins), again)
    evaluate = eml_words("evaluate", "run", "--data", "photos", *plugins, "--out", "measured", "--json")
    (measured,) = json.loads(in_new_process(evaluate, again))["evaluations"]
    assert 0 <= measured["metrics"]["precision_at_3"] <= 1
    in_new_process(eml_words("export", "run", "net.onnx", *plugins, "--prove-images", 0), again)
    code = (
        "import eml, sys; print(eml.load(sys.argv[1], plugins=sys.argv[2:]).embed(['photos/class 0/0.jpg']).tolist())"
    )
    own = json.loads(in_new_process([sys.executable, "-c", code, "run", "own/my_neck.py", "own/my_backbone.py"], again))
    exported = json.loads(in_new_process([sys.executable, "-c", code, "net.onnx"], again))
    assert exported == [pytest.approx(own[0], abs=1e-4)]


AUGMENT = """
from dataclasses import dataclass
from typing import Literal

from eml.images.augment import Augment, Augmenter

@dataclass(frozen=True)
class Darker:
    factor: float

    def __call__(self, pixels, seed):
        return (pixels * self.factor).astype("uint8")

class Dark(Augment):
    type: Literal["dark"] = "dark"

    def build(self, preprocess):
        return Augmenter(after_resize=Darker(0.5))
"""


@pytest.mark.wide
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_that_load_images_know_the_plugins_however_they_are_started(method: str, tmp_path: Path) -> None:
    draw(tmp_path / "photos", classes=6)
    write_files(tmp_path)
    (tmp_path / "dark.py").write_text(AUGMENT)
    data = {"table": "photos", "workers": 1}
    config = RUN | {"augment": "dark", "output": "run", "data": data, "plugins": ["dark.py", *page_files()]}
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    code = (
        f"import multiprocessing, eml\nif __name__ == '__main__':\n    multiprocessing.set_start_method('{method}')\n"
    )
    (tmp_path / "script.py").write_text(f"{code}    print(eml.train('run.yaml').folder)\n")
    assert in_new_process([sys.executable, "script.py"], tmp_path).strip() == str(tmp_path / "run")


@pytest.mark.wide
def test_several_processes_and_the_runs_of_a_sweep_know_them(tmp_path: Path) -> None:
    train(tmp_path)
    in_new_process(eml_words("train", "own/run.yaml", "--devices", 2, "--set", "output=two"), tmp_path)
    sweep = ["sweep", "own/run.yaml", "margin.m=0.1,0.2", "--jobs", 2, "--set", "epochs=1", "--out", "sweep", "--json"]
    found = json.loads(in_new_process(eml_words(*sweep), tmp_path))
    assert (len(found["runs"]), found["failures"]) == (2, {})
    (tmp_path / "own" / "my_margin.py").write_text(page_files()["my_margin.py"] + "# changed\n")
    done = subprocess.run(eml_words(*sweep), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "differs in plugins" in done.stderr


@pytest.mark.wide
def test_no_command_imports_what_a_run_of_someone_else_names(tmp_path: Path) -> None:
    """The plugins lie where the run's config says, and would write a file."""
    run = train(tmp_path, margin="arcface", loss="cross_entropy")
    for name in page_files():
        (tmp_path / "own" / name).write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    image, config = "photos/class 0/0.jpg", run / "config.yaml"
    for words in (
        ("evaluate", run, "--data", "photos"),
        ("embed", run, "photos", "--out", "e.npz"),
        ("calibrate", run, "--data", "photos", "--far", 0.5),
        ("compress", run, "photos"),
        ("ensemble", run, run, "--out", "both"),
        ("index", "build", "index", run, "photos"),
        ("classify", run, image, "--names", "names.txt"),
        ("export", run, "net.onnx"),
        ("export", run, "hub", "--format", "hub"),
        ("report", run),
        ("plot", run),
        ("probe", "photos", "--backbones", run),
        ("init", "photos", "--weights", run, "--out", "new.yaml"),
        ("cache", config),
        ("sweep", config, "margin.m=0.1,0.2"),
        ("train", run, "--resume"),
        ("train", config, "--set", "output=other"),
        ("suspects", run),
        ("doctor",),
    ):
        done = subprocess.run(
            eml_words(*words), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 2), (words, done.stderr[-2000:])
        assert not (tmp_path / "imported").exists(), words
