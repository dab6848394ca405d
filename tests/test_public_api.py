"""The public surface is pinned: changing it is a deliberate act, with a line in CHANGELOG.md."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import make_stub
import pytest
from pydantic import BaseModel

import eml
from eml.cli.adapter import Terminal, terminal_of
from eml.cli.app import COMMANDS
from eml.cli.groups import TerminalGroup
from eml.commands.base import CommandConfig, option_name

SNAPSHOTS = Path(__file__).parent / "snapshots"
REGENERATE = "PYTHONPATH=$PWD:$PWD/docs/tools python tests/test_public_api.py"
HEAVY = ("torch", "timm", "numpy", "pandas", "pydantic", "typer", "rich", "PIL", "eml.commands", "eml.config")

CLASSES = {"Model", "Index", "ClassHead", "RunConfig", "EmlError"}
FUNCTIONS = {"load", "load_plugins", "margin_logits", "margin_loss"}


@pytest.fixture(scope="module")
def every_module() -> list[str]:
    """Import every module of the package: a submodule takes the place of an attribute of its name."""
    names = [info.name for info in pkgutil.walk_packages(eml.__path__, "eml.") if not info.name.endswith("__main__")]
    for name in names:
        importlib.import_module(name)
    return names


def test_every_exported_name_is_what_it_should_be_after_all_modules_are_imported(every_module: list[str]) -> None:
    assert "eml.training.fit" in every_module
    for name in eml.__all__:
        thing = getattr(eml, name)
        assert not isinstance(thing, ModuleType), name
        if name == "__version__":
            assert isinstance(thing, str)
        elif name in CLASSES:
            assert inspect.isclass(thing), name
        elif name in FUNCTIONS:
            assert inspect.isfunction(thing), name
        else:
            assert issubclass(thing.config_type, CommandConfig), name
            assert thing.__name__ == name
            assert f"eml.{name}" not in every_module


def test_dir_shows_the_exported_names_and_no_other_name_is_there() -> None:
    assert set(eml.__all__) <= set(dir(eml))
    with pytest.raises(AttributeError, match="module 'eml' has no attribute 'scam'"):
        eml.scam  # noqa: B018


def test_every_command_of_the_command_line_is_a_function() -> None:
    functions = {getattr(eml, name).command for name in eml.__all__ if hasattr(getattr(eml, name), "config_type")}
    assert functions == set(terminals()) - {"completion", "config", "version"}


def test_importing_eml_imports_nothing_heavy() -> None:
    code = "import sys, eml; dir(eml); eml.__version__; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "eml" in loaded
    assert not set(HEAVY) & set(loaded)


def exported_names() -> list[str]:
    return sorted(eml.__all__)


def terminals() -> dict[str, object]:
    """Return each command with its terminal, those of a group by both of their words."""
    result = {}
    for name in COMMANDS:
        terminal = terminal_of(name)
        if isinstance(terminal, TerminalGroup):
            result |= {f"{name} {word}": member for word, member in terminal.members.items()}
        else:
            result[name] = terminal
    return result


def commands_with_options() -> list[str]:
    """Return `scan DATASET` and `scan --hashes`, for each command and option."""
    lines = []
    for name, terminal in terminals().items():
        lines.append(name)
        if isinstance(terminal, Terminal):
            lines += [f"{name} {words}" for words in sorted(_words_of(terminal))]
    return lines


def _words_of(terminal: Terminal) -> list[str]:
    words = []
    for name, info in terminal.config_type.model_fields.items():
        is_argument = name in terminal.function.arguments
        spelling = terminal.metavars.get(name) or name.upper() if is_argument else option_name(name, info)
        words.append(" ".join(filter(None, [spelling, terminal.short.get(name)])))
    extra = {"--config": terminal.config_file, "--devices": terminal.devices, "--json": True}
    return [*words, *(option for option, is_there in extra.items() if is_there)]


def config_keys() -> list[str]:
    """Return the keys of a run's config, dotted; those of a family's member as `margin{arcface}.m`."""
    return sorted(_keys(eml.RunConfig, ""))


def _keys(model: type[BaseModel], before: str, around: tuple[type, ...] = ()) -> list[str]:
    from eml.config.type_info import FieldSpec

    keys = []
    for name, info in model.model_fields.items():
        key = f"{before}{name}"
        keys.append(key)
        spec = FieldSpec(info.annotation, info)
        for family in spec.families:
            for member, kind in sorted(family.members().items()):
                keys.append(f"{key}{{{member}}}")
                if kind not in around:
                    keys += _keys(kind, f"{key}{{{member}}}.", (*around, kind))
        for branch in spec.branches:
            if inspect.isclass(branch) and issubclass(branch, BaseModel) and branch not in (*spec.families, *around):
                keys += _keys(branch, f"{key}.", (*around, branch))
    return [key for key in keys if not key.endswith("}.type")]


PINNED = {
    "exported_names.txt": exported_names,
    "commands.txt": commands_with_options,
    "config_keys.txt": config_keys,
}


@pytest.mark.parametrize("file", PINNED)
def test_the_public_surface_is_as_pinned(file: str, every_module: list[str]) -> None:
    pinned, now = (SNAPSHOTS / file).read_text(encoding="utf-8").splitlines(), PINNED[file]()
    gone, new = [line for line in pinned if line not in now], [line for line in now if line not in pinned]
    assert now == pinned, (
        f"the public surface has changed (gone: {gone}; new: {new}). If that is meant, say it in CHANGELOG.md and "
        f"run: {REGENERATE}"
    )


def test_the_stub_is_up_to_date() -> None:
    assert make_stub.STUB.read_text(encoding="utf-8") == make_stub.stub(), "run: python docs/tools/make_stub.py"


def test_the_types_are_part_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    tools = project["tool"]["setuptools"]
    assert {"py.typed", "*.pyi"} <= set(tools["package-data"]["eml"])
    assert tools["package-dir"] == {"": "."}, "else an editable install is an import hook, which type checkers ignore"
    assert make_stub.STUB.with_name("py.typed").is_file()


@pytest.mark.wide
def test_a_type_checker_knows_what_the_functions_return(tmp_path: Path) -> None:
    calls = {
        'eml.scan("x")': "eml.commands.scan.ScanResult",
        'eml.split("x", by="ratio")': "eml.commands.split.SplitResult",
        'eml.train("x", epochs=3)': "eml.commands.train.TrainResult",
        'eml.load("x")': "eml.inference.model.Model",
        "eml.__version__": "str",
    }
    (tmp_path / "use.py").write_text("import eml\n" + "".join(f"reveal_type({call})\n" for call in calls))
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", str(tmp_path), "use.py"]
    path = str(Path(eml.__file__).parent.parent)
    checked = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"MYPYPATH": path}
    )
    assert re.findall('Revealed type is "(.*)"', checked.stdout) == list(calls.values()), checked.stdout


def test_every_result_can_be_written_as_json() -> None:
    results: list[Any] = [eml.list_margins(), eml.doctor(hub=False)]
    for result in results:
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for file, lines in PINNED.items():
        (SNAPSHOTS / file).write_text("\n".join(lines()) + "\n", encoding="utf-8")
