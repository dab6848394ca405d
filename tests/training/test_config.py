"""The config of a run: its checks, short forms, hints for keys that stand elsewhere, and the old names of 0.1.0."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eml.config import Choice, Strict, dump, load
from eml.config.model import is_family
from eml.config.renamed import key_renames, value_renames
from eml.config.type_info import FieldSpec, literals
from eml.errors import ConfigError, Problem
from eml.images.mixes.mixup_or_cutmix import MixupOrCutMix
from eml.images.samplers.balanced import Balanced
from eml.margins.cosface import CosFace
from eml.training.config import RunConfig

OLD = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
SMALL: dict[str, Any] = {"output": "run", "data": {"table": "folds.csv"}}
CHOICES = [
    (place, section)
    for place, sections in yaml.safe_load((OLD / "config_choices.yaml").read_text(encoding="utf-8")).items()
    for section in sections
]


def load_values(folder: Path, values: dict[str, Any], *overrides: str) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return load(RunConfig, path, overrides)


def problems(folder: Path, values: dict[str, Any], *overrides: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_values(folder, values, *overrides)
    return caught.value.problems


def other_problems(path: Path) -> list[Problem]:
    """Return the problems of a config besides renamed keys and values."""
    try:
        load(RunConfig, path)
    except ConfigError as error:
        return [problem for problem in error.problems if problem.code not in ("renamed-key", "renamed-value")]
    return []


def with_section(place: str, section: dict[str, Any]) -> dict[str, Any]:
    """Return a small config with a section at a dotted place."""
    values = dict(SMALL)
    inner, (*outer, key) = values, place.split(".")
    for part in outer:
        inner = inner.setdefault(part, {})
    if place == "head.mode.optimizer":
        inner["type"] = "sampled"  # the mode that has an optimizer
    inner[key] = [section] if place == "trackers" else section
    return values


@pytest.mark.parametrize("place, section", CHOICES, ids=str)
def test_each_section_of_0_1_0_loads_but_for_names_that_the_error_gives(
    place: str, section: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(with_section(place, section), sort_keys=False), encoding="utf-8")
    assert other_problems(path) == []


@pytest.mark.parametrize("name", ["full_config", "config", "demo_config", "example_config", "init_config"])
def test_config_of_0_1_0_loads_but_for_names_that_the_error_gives(name: str) -> None:
    assert other_problems(OLD / f"{name}.yaml") == []


def test_all_old_names_are_reported_at_once_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "output: run\ndata: {table: folds.csv}\nsampler:\n  type: balanced\n  pictures: 100\n"
        "mix: {type: either, share: picture}\nepochs: 0\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(RunConfig, path)
    assert caught.value.problems == [
        f"{path}:5: sampler.pictures is now called sampler.images",
        f"{path}:6: mix.type: 'either' is now called 'mixup_or_cutmix'",
        f"{path}:6: mix.share: 'picture' is now called 'image'",
        f"{path}:7: epochs must be at least 1, got 0.",
    ]
    assert [problem.code for problem in caught.value.problems] == [
        *("renamed-key", "renamed-value", "renamed-value", "out-of-range")
    ]
    new = {**SMALL, "sampler": {"type": "balanced", "images": 100}, "mix": {"type": "mixup_or_cutmix"}}
    config = load_values(tmp_path, new)
    assert (config.sampler, config.mix) == (Balanced(images=100), MixupOrCutMix())


def subclasses(cls: type[Strict]) -> Iterator[type[Strict]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_renamed_keys_and_values_exist_under_their_new_names_only() -> None:
    sections = [cls for cls in subclasses(Strict) if cls.__module__.startswith("eml.")]
    assert any(key_renames(cls) for cls in sections)
    for cls in sections:
        for old, new in key_renames(cls).items():
            if not is_family(cls):  # a family's entry is for all of its members
                assert (old in cls.model_fields, new in cls.model_fields) == (False, True), (cls, old)
        for key, names in value_renames(cls).items():
            for old, new in names.items():
                if key != "type":
                    allowed = literals(FieldSpec(cls.model_fields[key].annotation))
                    assert (old in allowed, new in allowed) == (False, True), (cls, key, old)
                elif issubclass(cls, Choice) and is_family(cls):
                    assert (old in cls.members(), new in cls.members()) == (False, True), (cls, old)


def test_short_forms_stand_for_members_with_their_defaults(tmp_path: Path) -> None:
    short = {**SMALL, "margin": "cosface", "mix": "mixup_or_cutmix", "model": {"neck": "mlp"}, "trackers": ["wandb"]}
    config = load_values(tmp_path, short, "sampler=balanced", "head.mode=tiled")
    assert (config.margin, config.mix, config.sampler) == (CosFace(), MixupOrCutMix(), Balanced())
    assert (config.model.neck.type, config.head.mode.type, config.trackers[0].type) == ("mlp", "tiled", "wandb")
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert yaml.safe_load(again.read_text())["margin"] == {"type": "cosface", "m": 0.35}
    assert load(RunConfig, again) == config
    assert RunConfig.model_validate({**SMALL, "margin": "cosface"}).margin == CosFace()


@pytest.mark.parametrize(
    "override, hint",
    [
        ("lr=1e-3", "(did you mean optimizer.lr.backbone, optimizer.lr.neck or optimizer.lr.class_weights?)"),
        ("m=0.3", "(did you mean margin.m?)"),
        ("workers=2", "(did you mean data.workers?)"),
        ("image_size=64", "(did you mean image.size?)"),
        ("neck=mlp", "(did you mean model.neck or optimizer.lr.neck?)"),
        ("optimizer.epochs=3", "(did you mean epochs?)"),
        ("margin.scale=3", "(did you mean head.scale?)"),
    ],
)
def test_key_that_stands_elsewhere_is_named(override: str, hint: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALL, override)
    assert problem == f"override {override}: unknown key {override.partition('=')[0]!r} {hint}"
    assert problem.code == "unknown-key"


def test_a_key_that_resembles_none_is_given_no_other(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALL, "cuda.fast=true")
    assert "did you mean" not in problem


def test_a_backbone_that_is_tuned_needs_a_rate(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALL | {"tune": "lora", "optimizer": {"lr": {"backbone": 0}}})
    assert problem.endswith("tune: lora trains nothing, since optimizer.lr.backbone is 0")
    assert load_values(tmp_path, SMALL | {"optimizer": {"lr": {"backbone": 0}}}).tune.type == "full"


def test_a_batch_that_the_sampler_cannot_fill_is_an_error_of_the_config_with_its_line(tmp_path: Path) -> None:
    head = "output: run\ndata: {table: folds.csv}\n"
    for text, line, told in (
        (
            "batch_size: 30\nsampler: {type: per_class}\n",
            3,
            r"multiple of sampler\.per_class 4, .*, got 30; set it to 28 or 32",
        ),
        ("sampler: {type: per_class}\nbatch_size: 4\n", 4, r"multiple .* at least two of them, got 4; set it to 8"),
        (
            "batch_size: 36\nsampler: {type: per_category, categories: 2}\n",
            3,
            r"multiple of 8, sampler\.per_class 4 × categories 2, .* got 36; set it to 32 or 40",
        ),
    ):
        (tmp_path / "run.yaml").write_text(head + text)
        with pytest.raises(ConfigError, match=rf"run\.yaml:{line}: batch_size must be a {told}"):
            load(RunConfig, tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(head + "sampler: {type: per_clas}\n")
    with pytest.raises(ConfigError, match=r"unknown sampler 'per_clas' .did you mean 'per_class'"):
        load(RunConfig, tmp_path / "run.yaml")


@pytest.mark.parametrize("std", [0, [0.2, 0, 0.2], 1e-9, float("nan")])
def test_a_deviation_that_divides_by_nothing_is_an_error_of_the_config(std: object, tmp_path: Path) -> None:
    image = {"size": 32, "std": std if isinstance(std, list) else [std] * 3}
    found = problems(tmp_path, SMALL | {"image": image})
    assert found
    assert all("image.std" in problem for problem in found)
