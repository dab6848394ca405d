"""The README's commands run, its Python runs, the configs load, and example_config.yaml is what eml prints."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eml.cli.app import main
from eml.config import load
from eml.training.config import RunConfig, example

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIG_PAGE = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
SMALL = {  # what the README's commands get to be small enough for a test; a reader may type them all in this order
    "init": " --backbone test_resnet --weights none",
    "train": " --set epochs=1 --set image.size=32",
    "calibrate": " --far 0.4",
}


def blocks(language: str, page: str = README) -> list[str]:
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("readme"), np.random.default_rng(0)
    for folder in ("photos", "new_photos"):
        for label in range(12):
            (root / folder / f"class {label}").mkdir(parents=True)
            colour = random.integers(0, 256, 3)
            for number in range(5 if folder == "photos" else 2):
                pixels = (colour + random.normal(0, 60, (6, 6, 3))).clip(0, 255).astype(np.uint8)
                image = Image.fromarray(pixels).resize((60, 50), Image.Resampling.BICUBIC)
                image.save(root / folder / f"class {label}" / f"{number}.jpg")
    for name in ("a.jpg", "b.jpg"):
        image.save(root / name)
    return root


@pytest.mark.slow
def test_every_command_and_every_line_of_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("eml ")]
    names = [shlex.split(line)[1] for line in commands]
    assert names == ["split", "init", "train", "evaluate", "calibrate", "index", "classify"]
    for line in commands:
        words = shlex.split(line, comments=True)
        assert main(words[1:] + shlex.split(SMALL.get(words[1], ""))) == 0, line
    (code,) = blocks("python")
    names_of_code: dict[str, Any] = {}
    exec(code, names_of_code)
    assert names_of_code["embeddings"].shape == (2, 256)


def test_the_readme_is_a_first_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150, "README.md is a first screen: move what it says to a page of docs/"


def test_the_config_pages_config_and_every_file_of_configs_load(tmp_path: Path) -> None:
    (tmp_path / "page.yaml").write_text(blocks("yaml", CONFIG_PAGE)[0])
    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert {"demo.yaml", "example_config.yaml", "grocery160.yaml", "omniglot.yaml"} <= {file.name for file in files}
    for file in [tmp_path / "page.yaml", *files]:
        load(RunConfig, file)


def test_the_config_pages_error_messages_are_real(tmp_path: Path) -> None:
    text = "output: run\n\ndata: {table: folds.csv}\nmargin: {type: arcface, m: 28.6}\n\n\nepoch: 5\n"
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(Exception, match=r"run\.yaml") as caught:
        load(RunConfig, tmp_path / "run.yaml")
    (shown,) = (block for block in blocks("", CONFIG_PAGE) if block.startswith("run.yaml"))
    told = str(caught.value).replace(f"{tmp_path}/", "")
    for line in shown.strip().splitlines():
        assert line in told


def test_example_config_is_what_eml_prints_with_every_key() -> None:
    assert (ROOT / "configs" / "example_config.yaml").read_text(encoding="utf-8") == example(), (
        "run: eml config example > configs/example_config.yaml"
    )
