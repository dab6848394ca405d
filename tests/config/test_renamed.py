"""A config of an earlier version gets an error for each renamed key and value, all at once."""

from pathlib import Path
from typing import ClassVar, Literal

import pytest

from eml.config import Choice, Strict, load
from eml.errors import ConfigError, Problem


class Pooling(Choice):
    renamed_values: ClassVar = {"type": {"mean": "average"}, "over": {"picture": "image"}}

    over: Literal["image", "patch"] = "image"


class Average(Pooling):
    type: Literal["average"] = "average"
    renamed_keys: ClassVar = {"pictures": "images"}

    images: int | None = None


class Inner(Strict):
    renamed_keys: ClassVar = {"rate": "lr"}

    lr: float


class Net(Strict):
    renamed_keys: ClassVar = {"pool": "pooling", "inside": "inner"}

    pooling: Pooling = Average()
    more: tuple[Pooling, ...] = ()
    inner: Inner | None = None


def problems(folder: Path, text: str, *overrides: str) -> list[Problem]:
    (folder / "run.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Net, "run.yaml", overrides)
    return caught.value.problems


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_old_names_are_reported_at_once_with_the_new_ones_and_other_problems(folder: Path):
    text = """\
pool:
  type: mean
  over: picture
  pictures: many
more: [mean, {type: average, pictures: 2}]
inside: {rate: 1}
"""
    assert problems(folder, text) == [
        "run.yaml:1: pool is now called pooling",
        "run.yaml:2: pooling.type: 'mean' is now called 'average'",
        "run.yaml:3: pooling.over: 'picture' is now called 'image'",
        "run.yaml:4: pooling.pictures is now called pooling.images",
        "run.yaml:4: pooling.images must be a whole number or null, got 'many'.",
        "run.yaml:5: more.0: 'mean' is now called 'average'",
        "run.yaml:5: more.1.pictures is now called more.1.images",
        "run.yaml:6: inside is now called inner",
        "run.yaml:6: inner.rate is now called inner.lr",
    ]


def test_old_name_has_a_code_and_its_key(folder: Path):
    key, value = problems(folder, "pooling: {type: average, pictures: 2, over: picture}")
    assert (key.code, key.parameter) == ("renamed-key", "pooling.pictures")
    assert (value.code, value.parameter) == ("renamed-value", "pooling.over")


def test_override_with_an_old_name_is_reported(folder: Path):
    assert problems(folder, "{}", "pooling.pictures=3", "inside.rate=1") == [
        "override pooling.pictures=3: pooling.pictures is now called pooling.images",
        "override inside.rate=1: inside is now called inner",
        "override inside.rate=1: inner.rate is now called inner.lr",
    ]


def test_old_name_beside_the_new_one_is_reported_and_the_new_one_kept(folder: Path):
    assert problems(folder, "inner: {lr: 1, rate: 2}") == ["run.yaml:1: inner.rate is now called inner.lr"]


def test_new_names_are_accepted(folder: Path):
    (folder / "run.yaml").write_text("pooling: {type: average, over: image, images: 2}\ninner: {lr: 1}")
    assert load(Net, "run.yaml") == Net(pooling=Average(images=2), inner=Inner(lr=1))


class House(Strict):
    """`mean` stood beside the section that it is in now."""

    moved_keys: ClassVar = {"mean": "net.pooling"}

    net: Net = Net()


def test_a_key_that_is_in_a_section_now_is_read_and_its_errors_name_its_line(folder: Path) -> None:
    file = folder / "run.yaml"
    for text in ("mean: average\n", "net: {more: [average]}\nmean: {type: average, images: 2}\n"):
        file.write_text(text)
        house = load(House, file)
        assert house.net.pooling == Average(images=2 if "images" in text else None)
        assert house.net.more == ((Average(),) if "more" in text else ())
        assert load(House, file, ["mean=average"]).net.pooling == Average()
    file.write_text("net:\n  more: []\nmean: avrage\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:3: unknown pooling 'avrage'") as caught:
        load(House, file)
    assert len(caught.value.problems) == 1
    file.write_text("net: {pooling: average}\nmean: average\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:2: mean is now net\.pooling, which is set too; leave mean out"):
        load(House, file)
    assert House.model_validate({"mean": "average", "net": Net(more=(Average(),))}).net.more == (Average(),)
