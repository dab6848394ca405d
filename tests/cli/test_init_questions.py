"""`eml init` asks in a terminal, and only there."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from eml.cli.app import main
from eml.config import load
from eml.training.config import RunConfig
from tests.cli.conversation import converse
from tests.commands.conftest import draw


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with its table: not to be changed."""
    photos = draw(tmp_path_factory.mktemp("drawn") / "photos", classes=6, per_class=4)
    assert main(["scan", str(photos)]) == 0
    return photos


@pytest.fixture
def photos(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn, tmp_path / "photos", copy_function=os.link)
    return Path("photos")


def config_of(path: Path) -> RunConfig:
    return load(RunConfig, path)


@pytest.mark.wide
def test_the_answers_are_the_config_of_the_command_that_is_shown(photos: Path) -> None:
    answers = ["gone", "photos", "perhaps", "closed", "9", "1", "gone.pth", "none", "4", "96", "0", "30"]
    code, shown = converse(["init"], answers)
    assert code == 0
    for reason in ("no such file or folder", "write open or closed, got 'perhaps'", "the numbers are 1 to 6, got 9"):
        assert reason in shown
    assert "there is no file gone.pth; write none, pretrained, or a path" in shown
    assert "write a number of minutes above 0, such as 30, got '0'" in shown
    (command,) = re.findall(r"the same without questions: (eml init(?:.|\n)*?)\n\n", shown)
    words = shlex.split(command)
    assert words == shlex.split(
        "eml init photos --backbone mobilenetv2_100 --weights none --task closed --image-size 96 --minutes 30"
    )
    config = config_of(photos / "config.yaml")
    assert (config.task, config.image.size, config.minutes, str(config.model.weights)) == ("closed", 96, 30, "none")
    written = (photos / "config.yaml").read_text(encoding="utf-8")
    (photos / "config.yaml").unlink()
    assert main(words[1:]) == 0
    assert (photos / "config.yaml").read_text(encoding="utf-8") == written
    assert all(len(line) <= 80 for line in shown.splitlines() if "without questions" not in line)


@pytest.mark.wide
def test_enter_takes_what_init_chooses_and_a_config_that_is_there_stays(photos: Path) -> None:
    assert main(["init", "photos", "--weights", "none"]) == 0
    usual = (photos / "config.yaml").read_text(encoding="utf-8")
    code, shown = converse(["init", "photos"], ["", "", "", "none", "", ""])
    assert code == 0
    assert "photos/config.yaml exists and stays." in shown
    assert (photos / "config.yaml").read_text(encoding="utf-8") == usual
    written = (photos / "config-2.yaml").read_text(encoding="utf-8")
    assert written.replace("output: run-2", "output: run") == usual


def test_ctrl_c_leaves_no_config(photos: Path) -> None:
    before = sorted(photos.iterdir())
    code, shown = converse(["init", "photos"], ["open", "^C"])
    assert code == 130, shown
    assert "interrupted; no config was written" in shown
    assert sorted(photos.iterdir()) == before


def test_an_option_json_ci_or_a_pipe_asks_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = photos / "config.yaml"
    for words in (["--task", "open"], ["--json"]):
        code, shown = converse(["init", "photos", *words], [])
        assert code == 0
        assert "What is the model for?" not in shown
        config.unlink()
    assert main(["init", "photos"]) == 0  # pytest's stdin is no terminal
    assert "What is the model for?" not in "".join(capsys.readouterr())
    config.unlink()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, shown = converse(["init", "photos"], [])
    assert "What is the model for?" not in shown
