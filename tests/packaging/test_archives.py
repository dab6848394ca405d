"""The wheel and the sdist hold what they should and nothing else. `EML_DIST=dist` checks archives that are there."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wide, pytest.mark.xdist_group("archives")]

TOP = Path(__file__).resolve().parents[2]
NOT_IN_SDIST = (".ci/", ".gitignore", ".gitattributes")
NOT_SOURCES = {"build", "dist", "site", "demo", "runs"}


def sources() -> set[str]:
    """The files of the checkout, or of an unpacked sdist, relative to it."""
    if (TOP / ".git").exists():
        command = ["git", "ls-files", "-co", "--exclude-standard"]
        shown = subprocess.run(command, cwd=TOP, capture_output=True, text=True, encoding="utf-8", check=True)
        return {name for name in shown.stdout.splitlines() if (TOP / name).is_file()}
    return {
        path.relative_to(TOP).as_posix()
        for path in TOP.rglob("*")
        if path.is_file()
        and not {part for part in path.relative_to(TOP).parts if part.endswith((".egg-info", "__pycache__"))}
        and path.relative_to(TOP).parts[0] not in NOT_SOURCES
        and not path.relative_to(TOP).parts[0].startswith((".venv", ".mypy", ".pytest", ".ruff", ".hypothesis"))
        and path.name not in ("PKG-INFO", "setup.cfg")
    }


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives, built from a copy of the sources."""
    if folder := os.environ.get("EML_DIST"):
        return TOP / folder
    pytest.importorskip("build")
    tree = tmp_path_factory.mktemp("tree")
    for name in sources():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, tree / name)
    for stray in ("eml/notes.txt", "eml/reports/old.html.bak", "eml/__pycache__/x.cpython-311.pyc"):
        (tree / stray).parent.mkdir(exist_ok=True)
        (tree / stray).write_text("stray", encoding="utf-8")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(archives: Path) -> zipfile.ZipFile:
    (path,) = archives.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist_names(archives: Path) -> set[str]:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in sources() if name.startswith("eml/")}
    assert {"eml/py.typed", "eml/__init__.pyi", "eml/reports/style.css", "eml/commands/demo.yaml"} <= names


def test_the_wheel_has_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    (licence,) = [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
    assert wheel.read(licence) == (TOP / "LICENSE").read_bytes()
    (commands,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert "eml = eml.cli.entry:main" in wheel.read(commands).decode()


def test_the_description_has_no_link_that_needs_a_file_beside_it(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = str(metadata.get_payload())
    assert text.startswith("# ")
    assert "](docs/" not in text
    assert "](C" not in text


def test_the_sdist_has_the_checkout_and_nothing_else(sdist_names: set[str]) -> None:
    """So that `make check test docs` runs from it."""
    made = {name for name in sdist_names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    stray = {"eml/notes.txt", "eml/reports/old.html.bak"}
    assert sdist_names - made - stray == {name for name in sources() if not name.startswith(NOT_IN_SDIST)}
    assert not stray & sdist_names


def test_twine_is_content(archives: Path) -> None:
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, archives.iterdir())]
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert shown.returncode == 0, shown.stdout
