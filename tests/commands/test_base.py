"""What every command has: how it is called, what it refuses, and that the command line says the same."""

import importlib
import inspect
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import eml
from eml.cli.adapter import Terminal, terminal_of
from eml.cli.app import COMMANDS, main
from eml.cli.groups import TerminalGroup
from eml.commands.base import (
    Caller,
    CommandConfig,
    CommandResult,
    Names,
    PathField,
    Paths,
    _as_text,
    _with_others,
    as_path,
    command,
    command_text,
    validated,
)
from eml.commands.kfold import KFoldConfig
from eml.commands.scan import ScanConfig
from eml.commands.split import SplitConfig
from eml.commands.train import TrainConfig
from eml.errors import ConfigError, DataError, EmlError


def terminals() -> dict[str, Terminal]:
    """Return each command that has a config with its terminal, those of a group by both of their words."""
    found = {}
    for name in COMMANDS:
        terminal = terminal_of(name)
        members = terminal.members if isinstance(terminal, TerminalGroup) else {}
        found |= {name: terminal} if isinstance(terminal, Terminal) else {}
        found |= {f"{name} {word}": member for word, member in members.items()}
    return found


TERMINALS = terminals()


class WeighConfig(CommandConfig):
    """Weigh images.

    They are put on scales.
    """

    images: PathField = Field(description="The images.")
    scale: int = Field(3, ge=1, description="The scale.")
    exact: bool = Field(False, description="Weigh twice.")
    by: Names = Field((), description="Columns.")
    tables: Paths = Field((), description="Tables.")


@dataclass(frozen=True, kw_only=True, repr=False)
class WeighResult(CommandResult):
    config: WeighConfig
    line: str | None

    def summary(self) -> str:
        return "<2 kg>"

    def summary_table(self) -> tuple[list[str], list[list[Any]]]:
        return ["image", "grams"], [["a<b", 1234], ["c", None]]


@command(WeighConfig, arguments=("images", "scale"), name="weigh")
def weigh_images(config: WeighConfig, caller: Caller) -> WeighResult:
    """Weigh."""
    caller.note("a note")
    caller.warn("a warning")
    with caller.progress("weighing", 2) as advance:
        advance(2)
    return WeighResult(config=config, line=caller.command)


def test_fields_are_parameters_and_arguments_may_stand_by_position() -> None:
    config = weigh_images("photos", 5, by="camera", tables=[Path("a.csv"), "b.csv"]).config
    assert config == WeighConfig(images=Path("photos"), scale=5, by=("camera",), tables=(Path("a.csv"), Path("b.csv")))
    assert weigh_images(images="photos").config.scale == 3


def test_a_config_may_stand_for_the_fields_and_be_changed_by_some() -> None:
    config = WeighConfig(images=Path("photos"), scale=5)
    assert weigh_images(config).config is config
    assert weigh_images(config, exact=True).config == config.model_copy(update={"exact": True})
    with pytest.raises(ConfigError, match="`scale` must be greater than or equal to 1, got 0"):
        weigh_images(config, scale=0)


def test_calls_that_no_function_takes_are_type_errors() -> None:
    with pytest.raises(TypeError, match=r"weigh_images\(\) takes 2 positional arguments, got 3"):
        weigh_images("a", 2, True)
    with pytest.raises(TypeError, match=r"weigh_images\(\) got images twice"):
        weigh_images("a", images="b")
    with pytest.raises(TypeError, match="takes a WeighConfig and fields by name"):
        weigh_images(WeighConfig(images=Path("a")), 2)


def test_every_problem_names_its_parameter_and_has_a_code() -> None:
    with pytest.raises(ConfigError) as caught:
        weigh_images(scale="many", exct=True)
    problems = [(problem.code, problem.parameter) for problem in caught.value.problems]
    assert sorted(problems, key=str) == [
        ("missing-key", "images"),
        ("unknown-key", None),
        ("wrong-type", "scale"),
    ]
    assert "`scale` must be a whole number, got 'many'" in caught.value.problems
    unknown = next(problem for problem in caught.value.problems if problem.code == "unknown-key")
    assert unknown == ("unknown parameter `exct` (did you mean 'exact'?); known: images, scale, exact, by, tables")
    with pytest.raises(ConfigError, match="`images` must not be empty") as empty:
        weigh_images(" ")
    assert empty.value.parameter == "images"


def test_nothing_is_printed_and_the_messages_are_collected(capfd: pytest.CaptureFixture[str]) -> None:
    assert weigh_images("photos").messages == ("a note", "a warning")
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_stderr_or_given_to_a_function(capfd: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[str, int | None, int]] = []

    @contextmanager
    def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        yield lambda done: steps.append((description, total, done))

    weigh_images("photos", progress=progress)
    assert steps == [("weighing", 2, 2)]
    assert weigh_images("photos", progress=True).messages == ("a note", "a warning")
    assert capfd.readouterr().out == ""


def test_the_result_has_a_repr_and_a_table_for_notebooks() -> None:
    result = weigh_images("photos")
    assert repr(result) == "WeighResult(<2 kg>)"
    assert result._repr_html_() == (
        "<p><code>WeighResult(&lt;2 kg&gt;)</code></p><table><thead><tr><th>image</th><th>grams</th></tr></thead>"
        "<tbody><tr><td>a&lt;b</td><td>1,234</td></tr><tr><td>c</td><td></td></tr></tbody></table>"
        "<p>a note</p><p>a warning</p>"
    )


def test_a_notebook_shows_what_to_know_and_folds_many_messages() -> None:
    @dataclass(frozen=True, kw_only=True, repr=False)
    class Doubted(WeighResult):
        def cautions(self) -> tuple[str, ...]:
            return ("few & rough",)

    fields = {"config": WeighConfig(images=Path("photos")), "line": None}
    html = Doubted(**fields, messages=tuple(f"note {number}" for number in range(40)))._repr_html_()
    assert html.index("</table>") < html.index("<p>few &amp; rough</p>") < html.index("<summary>40 messages</summary>")
    assert html.count("<p>note ") == 40
    assert "<details>" not in Doubted(**fields, messages=("note 0",))._repr_html_()


def test_the_signature_and_the_docstring_are_made_from_the_config() -> None:
    signature = inspect.signature(weigh_images)
    assert str(signature) == (
        "(images: 'str | Path', scale: 'int' = 3, *, exact: 'bool' = False, by: 'str | Sequence[str]' = (), "
        "tables: 'str | Path | Sequence[str | Path]' = (), progress=None)"
    )
    assert inspect.getdoc(weigh_images) == (
        "Weigh images.\n\nThey are put on scales.\n\nArgs:\n    images: The images.\n    scale: The scale.\n"
        "    exact: Weigh twice.\n    by: Columns.\n    tables: Tables.\n"
        "    progress: True shows bars on stderr; or a function that makes them.\n\nReturns:\n    WeighResult."
    )
    assert weigh_images.__name__ == "weigh_images"


def test_the_command_is_written_as_it_would_be_typed() -> None:
    line = weigh_images("my photos", 5, exact=True, by=["a", "b"], tables=["x.csv"]).line
    assert line == "eml weigh 'my photos' 5 --exact --by a --by b --tables x.csv"


CONFIGS: dict[str, list[dict[str, Any]]] = {
    "scan": [
        {"dataset": "my photos", "hashes": False, "workers": 2, "out": "x", "report": True, "reread": True},
        {"dataset": "-x", "out": "-t", "shards": 16, "shard": 3},
    ],
    "merge-shards": [{"outs": ["a", "-b c"], "remove": True}],
    "pack": [
        {"dataset": "my photos", "out": "packed", "format": "tar", "shard_size": "1GiB", "leave_out": True},
        {"dataset": "x.csv", "out": "o", "root": "r", "class_level": "last", "overwrite": True},
    ],
    "merge": [{"datasets": ["a", "b c"], "out": "all", "labels": "merged", "root": ["a=x"], "overwrite": True}],
    "filter": [
        {"dataset": "x", "dedup": True, "threshold": 0, "scope": "dataset", "keep": "most-bytes", "hash_only": True},
        {"dataset": "x", "dedup": True, "conflicts": "keep", "exclude": ["a.csv", "b.csv"], "min_per_class": 2},
    ],
    "split": [
        {"dataset": "x", "column": "side", "by": "column", "group_by": ["camera", "my track"], "threshold": 3},
        {"dataset": "x", "by": "ratio", "test_ratio": 0.25, "near": False, "query_gallery": True, "query_share": 0.5},
        {"dataset": "x", "min_n_samples": 2, "max_n_samples": 9, "root": "r", "out": "o", "overwrite": True},
    ],
    "kfold": [{"dataset": "x", "k": 3, "by": "class", "random_seed": 0, "near": False}],
    "audit": [{"train": "a", "test": "b", "same_classes": True, "test_root": "r", "strict": True, "threshold": 0}],
    "report": [{"dataset": "x", "threshold": 3, "out": "page.html"}],
    "backbones": [{"pattern": "vit*", "limit": 3, "measure": True, "device": "cpu"}],
    "init": [{"dataset": "x", "backbone": "resnet18", "weights": "none", "overwrite": True}],
    "cache": [
        {"source": "run.yaml", "overrides": ["image.size=32", "data.cache=raw"], "prune": True},
        {"source": "x", "side": 32, "format": "jpeg", "quality": 90, "interpolation": "lanczos", "check": True},
        {"source": "x", "side": (306, 153)},
    ],
    "train": [
        {"config": "run.yaml", "overrides": ["epochs=3", "margin=arcface"], "resume": True, "accept_changes": True},
        {"config": "run.yaml", "fold": "all", "device": "cpu", "overwrite": True},
        {"config": "run.yaml", "preview": True, "out": "sheet.png", "dry_run": True},
    ],
    "upload": [{"sources": ("my run", "a.csv"), "to": "s3://bucket/a b", "overwrite": True}],
    "push": [{"folder": "my hub", "repository": "a/b", "public": True, "message": "a b", "dry_run": True}],
    "export": [
        {"checkpoint": "a", "out": "m.onnx", "format": "onnx", "input": "float", "opset": 21, "image_size": 96},
        {"checkpoint": "a", "out": "m.onnx", "prove_on": "t.csv", "prove_images": 50, "least_cosine": 0.999},
    ],
    "plot": [{"runs": ["a", "b"], "metric": "recall_at_1", "out": "x.png", "overwrite": True}],
    "evaluate": [
        {"checkpoints": ["a", "timm:x"], "data": ["t.csv", "u"], "slices": ["camera"], "report": False, "pairs": "p"},
        {"checkpoints": "a", "against": "b", "image_size": 32, "verification": True, "clustering": True, "workers": 2},
    ],
    "calibrate": [{"checkpoint": "a", "data": "x", "far": 0.01, "strict": True, "plot": "p.png", "batch_size": 3}],
    "compress": [{"checkpoint": "a", "data": "x", "sizes": [8, 16], "keep": "smallest", "show_all": True, "out": "o"}],
    "embed": [
        {"checkpoint": "a", "images": ["x", "y z"], "out": "e.npz", "tta": "flip", "class_level": "last"},
        {"checkpoint": "a", "images": "x", "out": "e.npz", "image_size": (256, 128)},
    ],
    "text": [
        {"dataset": "x", "encoder": "st:my model", "template": ["a {label}", "the {colour} one"], "column": "name"},
        {"dataset": "x", "encoder": "a", "names": "n.csv", "out": "v.safetensors", "device": "cpu", "root": "r"},
    ],
    "index build": [
        {"index": "i", "checkpoint": "a", "images": ["x"], "label": "my mug", "with_model": True, "storage": "float16"},
        {"index": "i", "checkpoint": "timm:x", "images": ["-"], "weights": "none", "duplicates": "keep", "tta": "flip"},
    ],
    "index add": [{"index": "i", "images": ["x", "y z"], "label": "a b", "model": "m", "workers": 2}],
    "index remove": [{"index": "i", "labels": ["a b", "c"], "file_names": "x.jpg", "ids": [3, 4]}],
    "index info": [{"index": "i"}],
    "index verify": [{"index": "i", "repair": True}],
    "index compact": [{"index": "i"}],
    "index export": [{"index": "i", "out": "x.npz", "where": "label == 'a'", "overwrite": True}],
    "search": [
        {"index": "i", "images": ["x", "y z"], "k": 3, "per_class": True, "where": "price < 3", "engine": "usearch"},
        {"index": "i", "images": ["x"], "csv": "n.csv", "html": "n.html", "thumbnails": False, "model": "m"},
        {"index": "i", "text": ["a red mug", "tea"], "k": 3},
    ],
    "index calibrate": [{"index": "i", "checkpoint": "my run"}],
    "classify": [
        {"index": "i", "images": ["x", "y z"], "out": "a.csv", "html": "a.html", "truth": "label", "move": "sorted"},
        {"index": "i", "images": ["-"], "copy_to": "my sorted", "unknown_share": 0.25, "class_level": "last"},
        {"index": "open_clip:ViT-B-32/openai", "images": ["x"], "names": "n.txt", "template": ["a {label}"]},
    ],
    "serve": [
        {
            "source": "my.index",
            "host": "0.0.0.0",
            "port": 80,
            "keys": "k.json",
            "allow_urls": ["a.example", "b.example"],
        },
        {
            "source": "timm:test_resnet",
            "runtime": "torch",
            "page": False,
            "batch": 1,
            "wait_ms": 0.5,
            "megapixels": 9.5,
        },
    ],
    "protocol": [{"protocol": "cub200", "dataset": "my birds", "boxes": True, "workers": 2, "out": "o"}],
    "probe": [
        {"dataset": "x", "backbones": ["resnet18=none", "my run"], "image_size": 64, "most_images": 20},
        {"dataset": "x", "image_size": "256x128"},
    ],
    "sweep": [
        {"config": "run.yaml", "settings": ["seed=0,1"], "vary": ["margin=arcface,cosface"], "overrides": ["epochs=3"]},
        {"config": "run.yaml", "vary": ["seed=0,1"], "stage": "features", "jobs": 2, "csv": "t.csv", "latex": "t.tex"},
    ],
    "ensemble": [{"checkpoints": ["a", "b c"], "out": "both", "by": "greedy", "data": "x", "batch_size": 3}],
    "suspects": [{"source": "x", "min_score": 0.75, "top": 5, "one_network": True, "out": "o"}],
    "serve-key add": [{"file": "my keys.json", "name": "shop", "scope": "write", "rate": 60}],
    "serve-key list": [{"file": "my keys.json"}],
    "serve-key remove": [{"file": "my keys.json", "name": "shop"}],
    "demo": [{"folder": "x", "overwrite": True}],
    "margins": [{}, {"name": "arcface"}],
    "doctor": [{}, {"hub": False}],
}


@pytest.mark.parametrize("name", TERMINALS)
def test_the_command_line_reads_the_text_of_a_command_as_the_same_config(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, read = TERMINALS[name], []

    @command(terminal.config_type, arguments=terminal.function.arguments, name=name, others=terminal.function.others)
    def record(config: Any, caller: Caller) -> CommandResult:
        read.append((config, caller.command))
        return CommandResult()

    recording = replace(terminal, function=record, show=lambda result: None, says_no=lambda config, result: False)
    recording = replace(recording, has_failures=lambda result: False)
    first, _, second = name.partition(" ")
    module = importlib.import_module(f"eml.cli.display.{first.replace('-', '_')}")
    shown = replace(module.terminal, members={second: recording}) if second else recording
    monkeypatch.setattr(module, "terminal", shown)
    for values in CONFIGS[name]:
        config = terminal.config_type(**values)
        text = command_text(name, config, terminal.function.arguments)
        assert main(shlex.split(text)[1:]) == 0, text
        assert read.pop() == (config, text)


@pytest.mark.parametrize("name", TERMINALS)
def test_every_field_is_described_and_named_alike_in_python_and_on_the_command_line(name: str) -> None:
    terminal = TERMINALS[name]
    assert terminal.function.command == name
    assert terminal.others == terminal.function.others
    for field, info in terminal.config_type.model_fields.items():
        assert info.description, field
        assert info.description.rstrip().endswith((".", "?")), field
        assert "--" not in info.description.replace("--fold all", "").replace("--exclude", ""), field
    assert set(terminal.short) | set(terminal.metavars) | set(terminal.function.arguments) <= set(
        terminal.config_type.model_fields
    )


@pytest.mark.slow
def test_an_exported_command_prints_nothing(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = eml.split(SplitConfig(dataset=photos, by="ratio"), threshold=0)
    assert result.messages == (f"table: {photos}/dataset_info.csv",)
    eml.kfold(KFoldConfig(dataset=photos, k=2))
    eml.scan(ScanConfig(dataset=photos))
    eml.init(photos, overwrite=True, weights="none")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_training_evaluating_and_drawing_print_nothing(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = {"image": {"size": 32}, "epochs": 1, "batch_size": 8, "output": str(tmp_path / "run")}
    run = eml.train(photos, **small).folder
    eml.evaluate(run, data=photos)
    eml.plot(run)
    assert capfd.readouterr() == ("", "")


def test_a_command_in_python_writes_beside_its_files_what_would_be_typed(photos: Path) -> None:
    from eml.dataset.sidecar import read_sidecar

    eml.kfold(photos, k=2)
    sidecar = read_sidecar(photos / "folds.csv")
    assert sidecar is not None
    assert sidecar.command == f"eml kfold {photos} --k 2"


def test_the_library_speaks_of_parameters_and_the_command_line_of_options(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "dataset_test.csv").write_text("mine")
    with pytest.raises(Exception, match="`overwrite`") as caught:
        eml.split(photos / "dataset_info.csv")
    assert getattr(caught.value, "code", None) == "file-exists"
    assert main(["split", str(photos / "dataset_info.csv")]) == 2
    err = capsys.readouterr().err
    assert "--overwrite" in err
    assert "`" not in err


def test_a_missing_dataset_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        eml.kfold(tmp_path / "none")


def test_keys_of_a_run_are_added_to_the_overrides_of_a_config_object() -> None:
    first = TrainConfig(config=Path("run.yaml"), overrides=("image.size=32",))
    assert _with_others(TrainConfig, (first,), {"epochs": 3}, "overrides") == {
        "overrides": ("image.size=32", "epochs=3")
    }
    assert _with_others(TrainConfig, ("run.yaml",), {"overrides": "a=1", "epochs": 3}, "overrides") == {
        "overrides": ("a=1", "epochs=3")
    }
    assert _with_others(TrainConfig, ("run.yaml",), {"overrides": None, "epochs": 3}, "overrides") == {
        "overrides": ("epochs=3",)
    }


def test_a_home_that_is_not_known_is_a_name_like_any_other() -> None:
    with pytest.raises(DataError, match=r"~nobody-knows-whom"):
        eml.scan("~nobody-knows-whom")


def test_progress_must_be_a_switch_or_a_function() -> None:
    with pytest.raises(TypeError, match="progress must be True, False or a function"):
        eml.list_margins(progress="yes")


def test_results_are_equal_only_to_themselves_and_can_be_keys() -> None:
    first, second = eml.list_margins("arcface"), eml.list_margins("arcface")
    assert first == first
    assert first != second
    assert {first: 1}[first] == 1


def path_fields() -> list[tuple[type[CommandConfig], str]]:
    """Return every field of a command that takes a path, or a name that may be one."""
    for path in (Path(eml.__file__).parent / "commands").glob("[a-z]*.py"):
        importlib.import_module(f"eml.commands.{path.stem}")
    configs = [config for config in CommandConfig.__subclasses__() if config.__module__.startswith("eml.commands.")]
    guarded = (as_path, _as_text)
    return [
        (config, name)
        for config in configs
        for name, field in config.model_fields.items()
        if "Path" in str(field.annotation) or any(getattr(item, "func", None) in guarded for item in field.metadata)
    ]


@pytest.mark.parametrize("bad", ["x" * 256, "a\0b", "x/" * 2100, "\ud800"])
def test_every_path_of_every_command_must_be_one(bad: str) -> None:
    fields = path_fields()
    assert len(fields) > 40
    for config, name in fields:
        with pytest.raises(ConfigError) as error:
            validated(config, {name: bad})
        assert any("is no path of a file" in problem for problem in error.value.problems), (config, name)


def test_a_folder_whose_name_is_not_utf8_is_refused_by_every_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/ro\xffot"))
    try:
        (root / "a").mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    monkeypatch.chdir(root)
    for name, call in {"scan": eml.scan, "split": eml.split, "report": eml.report, "init": eml.init}.items():
        for path in (root, Path("a")):
            with pytest.raises(EmlError, match=r"must be valid UTF-8, .* got .*ro\\xffot.* Rename the folder or file"):
                call(path)
        assert main([name, str(root)]) == 2
    with pytest.raises(EmlError, match="must be valid UTF-8"):
        eml.scan(tmp_path, out=root / "table.csv")
    assert [path.name for path in root.iterdir()] == ["a"]
