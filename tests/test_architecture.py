"""docs/architecture.md names the rooms and files that there are."""

import re
from pathlib import Path

import eml

PACKAGE = Path(eml.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms_of_the_page() -> set[str]:
    table = PAGE.partition("## The rooms")[2].partition("\n\n`retrieval/`")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", table, flags=re.MULTILINE)
    return {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_table_lists_every_room_and_no_other() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert rooms_of_the_page() == folders | files


def test_every_file_that_the_page_names_is_there() -> None:
    names = set(re.findall(r"`([a-z_]+/[a-z_/]*\.py)`", PAGE))
    assert len(names) > 20
    missing = {name for name in names if not (PACKAGE / name).exists() and not (PACKAGE.parent / name).exists()}
    assert not missing


def test_every_folder_that_the_page_names_is_there() -> None:
    names = set(re.findall(r"`([a-z_]+/[a-z_]+/)`", PAGE))
    assert not {name for name in names if not (PACKAGE / name).is_dir()}


def test_the_names_that_the_page_gives_for_what_is_looked_for_are_there() -> None:
    table = PAGE.partition("## Where is …")[2] + PAGE.partition("## Where to add what")[2]
    for name, file in re.findall(r"`([A-Z_a-z]+)` (?:in|of) `([a-z_/]+\.py)`", table):
        assert name in (PACKAGE / file).read_text(encoding="utf-8"), (name, file)
