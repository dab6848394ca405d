"""Plugins: files and modules of the user's own, imported because a config of the user's own names them."""

import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from eml.config import Choice, PluginNames, Strict, load, load_plugins
from eml.config.plugins import PluginsInChild, loaded_plugins, plugin_of, plugin_options, raised_in_plugin
from eml.errors import ConfigError

pytestmark = pytest.mark.usefixtures("plugins_forgotten")


class Shape(Choice):
    """A family to extend."""


class Disc(Shape):
    type: Literal["disc"] = "disc"


class Drawn(Choice):
    """A family whose members have a method and a class variable."""

    colour: ClassVar[str]

    def draw(self) -> None:
        raise NotImplementedError


class Drawing(Strict):
    plugins: PluginNames = ()
    shape: Shape = Disc()


PLUGIN = f"""
from typing import ClassVar, Literal
from {__name__} import Shape

class Star(Shape):
    type: Literal["star"] = "star"
    points: int = {{points}}
"""


def write(path: Path, text: str = PLUGIN, points: int = 5) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text.replace("{points}", str(points)))
    return path


def problem(*names: str | Path, folder: Path | None = None) -> tuple[str, str]:
    with pytest.raises(ConfigError) as raised:
        load_plugins(names, folder=folder)
    assert raised.value.parameter == "plugins"
    return raised.value.code, str(raised.value)


def points() -> int:
    return int(Shape.members()["star"]().points)  # type: ignore[attr-defined]


def test_a_config_imports_the_file_beside_it_before_it_is_validated(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir("/")
    write(tmp_path / "star.py")
    (tmp_path / "drawing.yaml").write_text("shape: {type: star, points: 7}\nplugins: star.py\n")
    drawing = load(Drawing, tmp_path / "drawing.yaml")
    assert drawing.shape.model_dump() == {"type": "star", "points": 7}
    assert drawing.plugins == (str(tmp_path / "star.py"),)
    assert [(plugin.name, plugin.members) for plugin in loaded_plugins()] == [("star.py", ("shape star",))]
    assert plugin_options() == ["--plugin", str(tmp_path / "star.py").lstrip("/")]


def test_overrides_may_name_plugins_and_set_what_they_define(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "star.py")
    write(tmp_path / "elsewhere" / "drawing.yaml", "shape: disc\n")
    overrides = ["shape.type=star", "shape.points=3", "plugins=[star.py]"]
    assert load(Drawing, "elsewhere/drawing.yaml", overrides).shape.model_dump() == {"type": "star", "points": 3}


def test_nothing_is_imported_where_the_config_is_not_the_users(tmp_path: Path) -> None:
    write(tmp_path / "star.py", "raise SystemExit('imported')")
    (tmp_path / "drawing.yaml").write_text("plugins: [star.py]\n")
    assert load(Drawing, tmp_path / "drawing.yaml", import_plugins=False).plugins == (str(tmp_path / "star.py"),)
    assert not loaded_plugins()


def test_a_wrong_setting_and_a_missing_plugin_are_told_with_the_line(tmp_path: Path) -> None:
    write(tmp_path / "star.py")
    file = tmp_path / "drawing.yaml"
    file.write_text("plugins:\n  - star.py\n  - sta.py\nshape: comet\n")
    with pytest.raises(ConfigError) as raised:
        load(Drawing, file)
    (line,) = raised.value.problems
    assert line.startswith(f"{file}:3: plugins: sta.py: {tmp_path} has no such file (did you mean 'star.py'?)")
    assert (line.code, line.parameter) == ("missing-plugin", "plugins")
    file.write_text("plugins: [star.py]\nshape: {type: star, points: many}\n")
    with pytest.raises(ConfigError, match=r"drawing.yaml:2: shape.points must be a whole number, got 'many'"):
        load(Drawing, file)


def test_equal_names_in_two_folders_do_not_collide_and_the_same_file_is_imported_once(tmp_path: Path) -> None:
    text = PLUGIN.replace("star", "comet")
    load_plugins([write(tmp_path / "a" / "own.py"), write(tmp_path / "b" / "own.py", text)])
    assert Shape.members().keys() == {"disc", "star", "comet"}
    first = Shape.members()["star"]
    (tmp_path / "c").symlink_to(tmp_path / "a")
    load_plugins(["a/own.py", "c/own.py"], folder=tmp_path)
    write(tmp_path / "moved" / "own.py")
    load_plugins("moved/own.py", folder=tmp_path)  # as when a run was moved
    assert Shape.members()["star"] is first
    assert sys.modules[first.__module__].__file__ == str(tmp_path / "a" / "own.py")


def test_a_changed_file_is_imported_anew_and_a_broken_one_leaves_what_was(tmp_path: Path) -> None:
    file, lines = write(tmp_path / "star.py"), list[str]()
    load_plugins(file, report=lines.append)
    load_plugins(file, report=lines.append)
    assert not lines
    load_plugins(write(file, PLUGIN.replace("Star", "Renamed"), 8), report=lines.append)
    assert lines == ["plugin star.py was changed: it is imported anew"]
    assert points() == 8
    code, text = problem(write(file, PLUGIN + "\n1 / 0\n", points=9))
    assert (code, points()) == ("plugin-failed", 8)
    assert text == f"{file}:9: plugin star.py cannot be imported: ZeroDivisionError: division by zero"


def test_a_file_that_was_imported_by_its_name_is_not_imported_twice(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "star_by_name.py")
    monkeypatch.syspath_prepend(tmp_path)
    import star_by_name  # type: ignore[import-not-found]

    try:
        (plugin,) = load_plugins(tmp_path / "star_by_name.py")
        assert Shape.members()["star"] is star_by_name.Star
        assert plugin_of("star_by_name") == plugin
        lines: list[str] = []
        load_plugins(write(tmp_path / "star_by_name.py", points=6), report=lines.append)
        assert "restart it" in lines[0]
        assert points() == 5
    finally:
        del sys.modules["star_by_name"]


def test_modules_of_packages_are_imported_and_misspelt_ones_are_told(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "star_package" / "shapes.py")
    write(tmp_path / "star_package" / "__init__.py", "")
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = load_plugins("star_package.shapes")
    assert (plugin.members, plugin_options()) == (("shape star",), ["--plugin", "star_package.shapes"])
    code, text = problem("star_package.shape")
    assert (code, "did you mean 'star_package.shapes'?" in text) == ("missing-plugin", True)
    code, text = problem("stars.shapes")
    assert code == "missing-plugin"
    assert "A file is given with its suffix, stars/shapes.py" in text


@pytest.mark.parametrize(
    "text, code, end",
    [
        ("x = (", "plugin-failed", ":1: plugin own.py cannot be imported: SyntaxError: '(' was never closed"),
        ("import no_such_package", "plugin-failed", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys\nsys.exit(3)", "plugin-failed", ":2: plugin own.py cannot be imported: SystemExit: 3"),
        ("m = 0.5", "empty-plugin", "type: Literal['my_name'] = 'my_name'"),
        (PLUGIN.replace('"star"', '"disc"'), "type-taken", "test_plugins.Disc; give it another name"),
        (
            PLUGIN.replace("Shape)", "Drawn)").replace("Shape\n", "Drawn\n"),
            "plugin-failed",
            "lacks draw(), colour; see the docstring of Drawn",
        ),
        (PLUGIN.replace('Literal["star"]', "str"), "plugin-failed", "type: Literal['name'] = 'name'"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told_with_its_line_and_nothing_of_it_stays(
    text: str, code: str, end: str, tmp_path: Path
) -> None:
    before = Shape.members()
    found, message = problem(write(tmp_path / "own.py", text))
    assert found == code, message
    assert message.startswith(str(tmp_path / "own.py"))
    assert message.endswith(end)
    assert Shape.members() == before
    assert not loaded_plugins()


@pytest.mark.parametrize("name", ["a b", "", "a..b", "~no_such_user_at_all/own.py"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert problem(name)[0] == "invalid-value"


@pytest.mark.parametrize("name", ["own.txt/", "no/folder/own.py"])
def test_what_is_no_file_is_refused(name: str) -> None:
    assert problem(name)[0] == "missing-plugin"


def test_prints_of_a_plugin_do_not_get_into_the_result(tmp_path: Path, capsys) -> None:
    load_plugins(write(tmp_path / "own.py", PLUGIN + "print('hello')\n"))
    assert capsys.readouterr() == ("", "hello\n")


def _shapes(plugins: PluginsInChild, shape: Shape, connection: Connection) -> None:
    connection.send((sorted(Shape.members()), shape.model_dump(), [plugin.name for plugin in loaded_plugins()]))


@pytest.mark.wide
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_is_not_forked_imports_the_plugins_as_they_were(method: str, tmp_path: Path) -> None:
    file = write(tmp_path / "star.py")
    load_plugins(file)
    shape = Shape.members()["star"].model_validate({"points": 4})
    file.write_text("raise ValueError('changed since')")
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=_shapes, args=(PluginsInChild(), shape, there))
    process.start()
    assert here.poll(60)
    assert here.recv() == (["disc", "star"], {"type": "star", "points": 4}, ["star.py"])
    process.join()


def test_an_error_that_a_plugin_raises_while_it_is_used_has_its_line(tmp_path: Path) -> None:
    text = PLUGIN + "\n    def corners(self):\n        return [][self.points]\n"
    load_plugins(write(tmp_path / "star.py", text))
    with pytest.raises(IndexError) as raised:
        Shape.members()["star"]().corners()  # type: ignore[attr-defined]
    line = raised_in_plugin(raised.value)
    assert line is not None
    assert line.startswith(f"{tmp_path / 'star.py'}:10: plugin star.py raises IndexError: list index out of range")
    assert raised_in_plugin(IndexError("of eml itself")) is None


def test_a_folder_that_is_called_like_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").mkdir()
    code, text = problem("own.py", folder=tmp_path)
    assert code == "missing-plugin"
    assert text.startswith(f"`plugins`: {tmp_path / 'own.py'}: is a folder; give a Python file")
