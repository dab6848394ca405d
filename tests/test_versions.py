"""The version stands in pyproject.toml; whatever tells it tells that one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import eml
from eml import versions
from eml.versions import OWN, UNKNOWN, eml_version, version_of

TOP = Path(eml.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def stated() -> str:
    """The version in pyproject.toml."""
    return str(tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def test_the_package_and_the_changelog_tell_the_version_of_pyproject(stated: str) -> None:
    headings = re.findall(r"^## (\S+)", (TOP / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert eml.__version__ == version_of(OWN) == eml_version() == headings[0] == stated


def test_the_commands_tell_it_too(stated: str, capsys: pytest.CaptureFixture[str]) -> None:
    from eml.cli.app import main

    for arguments in (["--version"], ["version"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out == f"eml {stated}\n"


def test_every_file_that_eml_writes_takes_it_from_there() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (TOP / "eml").rglob("*.py")}
    others = {"versions.py", "base.py", "scan_cache.py"}  # of packages that are not eml
    assert {path.name for path, text in texts.items() if "importlib.metadata" in text} <= others


def test_the_tree_that_is_imported_counts_and_not_another_that_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(f'[project]\nname = "{OWN}"\nversion = "9.8.7"\n', encoding="utf-8")
    assert versions._source_version(file) == "9.8.7"


@pytest.mark.parametrize("content", ['[project]\nname = "other"\nversion = "1"\n', "[project", '[tool.x]\n"a" = 1\n'])
def test_a_pyproject_of_another_project_is_not_asked(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(content, encoding="utf-8")
    assert versions._source_version(file) is None


def test_a_copy_of_the_package_alone_says_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "eml").mkdir()
    for name in ("__init__.py", "versions.py"):
        (tmp_path / "eml" / name).write_bytes((TOP / "eml" / name).read_bytes())
    code = "import eml; print(eml.__version__)"
    command = [sys.executable, "-S", "-c", code]  # without site-packages
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={}, check=True)
    assert shown.stdout.strip() == UNKNOWN
