"""Imports go one way, from the rooms above to those below; members of a family know nothing of one another."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.sources import PACKAGE, files, nodes_of

pytestmark = pytest.mark.xdist_group("sources")

# From the bottom. A room imports from the rows below its own, and from itself.
ROWS = [
    {"child_python", "errors", "imported", "printable", "units", "versions"},
    {"notebook_bars"},
    {"storage"},
    {"allocator", "devices", "files", "progress", "stopping", "threads"},
    {"json_files"},
    {"config"},
    {"images"},
    {"dataset"},
    {"demo_data", "trackers", "retrieval"},
    {"losses", "margins"},
    {"models"},
    {"texts"},
    {"head"},
    {"distributed"},
    {"inference"},
    {"evaluation"},
    {"training"},
    {"exporting", "indexing", "sharding"},
    {"serving"},
    {"reports"},
    {"commands"},
    {"cli"},
]
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}

# The package itself: `eml.load` is a door for users, and `python -m eml` is the command line.
OUTSIDE = {"__init__", "__main__"}

# Folders whose files are members of a family, and the files in them that are not.
FAMILIES = [
    family
    for family in (
        *("margins", "losses", "trackers", "retrieval/metrics"),
        *("images/augment", "images/mixes", "images/samplers"),
        *(
            "models/backbones",
            "models/necks",
            "models/tuning",
            "head/row_optimizers",
            "head/inits",
            "head/text_terms",
            "dataset/protocols",
        ),
        "texts/encoders",
        "sharding/executors",
    )
    if (PACKAGE / family).is_dir()
]
NOT_MEMBERS = {"__init__", "base"}


def is_member(path: Path) -> bool:
    return path.stem not in NOT_MEMBERS and not path.stem.startswith("_")


def name_of(path: Path) -> str:
    return ".".join(["eml", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


@cache
def modules() -> frozenset[str]:
    return frozenset(name_of(path) for path in files())


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, module) of everything in eml that the file imports, inside functions and under TYPE_CHECKING too."""
    return tuple(imports_in(path))


def imports_in(path: Path) -> Iterator[tuple[int, str]]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "eml")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write out where it comes from"
            if node.module and node.module.split(".")[0] == "eml":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield node.lineno, inner if inner in modules() else node.module


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(name_of(path)) for path in files()} - OUTSIDE
    assert rooms <= LEVEL.keys()


def test_imports_go_downwards_only() -> None:
    wrong = [
        f"{path}:{line}: {room} may not import {module}"
        for path in files()
        if (room := room_of(name_of(path))) not in OUTSIDE
        for line, module in imports(path)
        if (other := room_of(module)) != room and (other in OUTSIDE or LEVEL[other] >= LEVEL[room])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("family", FAMILIES)
def test_family_members_never_import_each_other(family: str) -> None:
    members = {name_of(path) for path in PACKAGE.joinpath(family).glob("*.py") if is_member(path)}
    wrong = [
        f"{path}:{line}: imports {module}"
        for path in PACKAGE.joinpath(family).glob("*.py")
        if is_member(path)
        for line, module in imports(path)
        if module in members
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(
        "def f():\n    from eml.cli import app\n    import eml.training.fit\n    from eml.errors import EmlError\n"
    )
    assert list(imports_in(file)) == [(2, "eml.cli.app"), (3, "eml.training.fit"), (4, "eml.errors")]


@pytest.mark.parametrize("room", ["dataset", "config", "images/decode.py"])
def test_torch_stays_out_of_the_rooms_that_promise_it(room: str) -> None:
    place = PACKAGE / room
    inside = [place] if place.is_file() else sorted(place.rglob("*.py"))
    wrong = [
        f"{path}:{node.lineno}"
        for path in inside
        for node in nodes_of(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in {"torch", "timm"}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING count too; a package's own face may import its files."""
    graph = {name_of(path): {module for _, module in imports(path)} - {name_of(path)} for path in files()}
    faces = {name_of(path) for path in files() if path.stem == "__init__"}
    graph = {name: targets & graph.keys() - faces for name, targets in graph.items() if name not in faces}
    while leaves := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    assert not graph, f"in or above a circle: {sorted(graph)}"
