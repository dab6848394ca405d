import math
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from eml.config import Choice, Strict, document, dump, load
from tests.config.config_house import ArcFace, CosFace, Flip, House, OneOf, Optimizer, Table
from tests.examples import examples

numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
margins = st.builds(ArcFace, m=st.floats(0, math.pi, exclude_max=True)) | st.builds(CosFace, m=st.floats(0, 1))
flips = st.builds(Flip, p=st.floats(0, 1))
transforms = flips | st.builds(OneOf, transforms=st.lists(flips, min_size=1, max_size=2))
optimizers = st.builds(
    Optimizer,
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.just("auto"),
    betas=st.tuples(numbers, numbers),
    epochs=st.integers(5, 10**20),
    warmup=st.integers(-5, 5),
)
paths = st.text("aé~. -#:1", min_size=1).filter(str.strip).map(lambda name: Path("/data") / name)
houses = st.builds(
    House,
    data=paths | st.builds(Table, table=paths, root=paths),
    margin=margins,
    extra=st.none() | margins,
    transforms=st.lists(transforms, max_size=2),
    optimizer=optimizers,
    schedule=st.none() | optimizers,
    sections=st.lists(optimizers, max_size=2),
    weights=st.sampled_from(["pretrained", "none"]) | paths,
    name=st.text(max_size=5).filter(lambda text: " " not in text),
    fast=st.booleans(),
    notes=st.dictionaries(st.text(), plain, max_size=3),
)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=houses)
@example(config=House(data=Path("/x"), notes={"<<": "1e-4", "no": "no", "=": "012", "~": "1:30", "a": "2024-01-02"}))
@example(config=House(data=Path("/x"), name="\x85", notes={"": "\ufeff", "\x00": "\u2028\t\n\n\r #"}))
@example(config=House(data=Path("/x"), notes={"a": {}, "b": [], "c": [[], {}], "d": 1e300, "e": 5e-324, "f": -0.0}))
def test_config_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, config: House):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(dump(config), encoding="utf-8")
    again = load(House, path)
    assert again == config
    assert dump(again) == dump(config)


def test_dump_has_every_key_in_the_order_of_declaration():
    config = House(data=Path("/x/folds.csv"), transforms=[Flip()], notes={"a": "no", "b": "1e-4"})
    assert (
        dump(config)
        == """\
data: /x/folds.csv
margin:
  type: arcface
  m: 0.4
extra: null
transforms:
  - type: flip
    p: 0.5
optimizer:
  lr: 0.001
  betas: [0.9, 0.999]
  epochs: 20
  warmup: 1
schedule: null
sections: []
weights: pretrained
kind: small
size: 128
name: ''
fast: false
notes:
  a: 'no'
  b: '1e-4'
"""
    )


def test_other_yaml_readers_agree_with_dump():
    config = House(data=Path("/x"), optimizer=Optimizer(lr=1e-5), notes={"a": "1e-5", "b": "012", "c": "on", "d": 1e22})
    assert yaml.safe_load(dump(config)) == config.model_dump(mode="json")


def test_text_from_an_override_is_dumped_as_text(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("data: /x")
    config = load(House, path, ["notes={a: b, c: [no]}", "name=d"])
    assert yaml.safe_load(dump(config))["notes"] == {"a": "b", "c": ["no"]}
    assert type(config.name) is str


DOCUMENT = """\
# where the images are listed
data: folds.csv

# what keeps the classes apart
# type: arcface or cosface
margin:
  type: cosface
  # (cosine)
  m: 0.2

# type: arcface or cosface
extra: null

# type: flip or one_of
transforms:
  - type: flip
    p: 0.5
  - type: one_of
    # type: flip or one_of
    transforms:
      - type: flip
        p: 1.0

# what learns
optimizer:
  # peak learning rate
  lr: 0.001
  betas: [0.9, 0.999]
  epochs: 20
  # length of the rise (epochs)
  warmup: 1

# How the weights are changed.
schedule: null

sections:
  - # peak learning rate
    lr: auto
    betas: [0.9, 0.999]
    epochs: 10
    # length of the rise (epochs)
    warmup: 1

weights: pretrained

kind: small

size: 128

name: ''

fast: false

notes: {}
"""


def test_document_writes_every_key_under_its_description(tmp_path: Path):
    values = {
        "data": "folds.csv",
        "margin": {"type": "cosface", "m": 0.2},
        "transforms": [Flip(), {"type": "one_of", "transforms": [Flip(p=1)]}],
        "sections": [{"lr": "auto"}],
    }
    text = document(House, values)
    assert text == DOCUMENT
    path = tmp_path / "example.yaml"
    path.write_text(text)
    expected = House.model_validate({**values, "data": tmp_path / "folds.csv"})
    assert load(House, path) == expected


def test_short_forms_are_written_in_full(tmp_path: Path):
    path = tmp_path / "short.yaml"
    path.write_text("data: /x\nmargin: cosface\ntransforms: [flip]")
    config = load(House, path)
    assert config == House(data=Path("/x"), margin=CosFace(), transforms=[Flip()])
    assert yaml.safe_load(dump(config))["margin"] == {"type": "cosface", "m": 0.35}
    text = document(House, {"data": "/x", "margin": "cosface", "transforms": ["flip"]})
    assert text == document(House, {"data": "/x", "margin": CosFace(), "transforms": [Flip()]})


def test_document_describes_a_family_by_the_chosen_members_docstring():
    class Pooling(Choice):
        """What a developer reads."""

    class Gem(Pooling):
        """Generalised mean."""

        type: Literal["gem"] = "gem"

    class Net(Strict):
        pooling: Pooling = Gem()

    assert document(Net, {}) == "# Generalised mean.\n# type: gem\npooling:\n  type: gem\n"


def test_document_refuses_missing_and_unknown_keys():
    with pytest.raises(ValueError, match=r"^data has no value$"):
        document(House, {})
    with pytest.raises(ValueError, match=r"^unknown key margin.mm; known: type, m$"):
        document(House, {"data": "x", "margin": {"type": "arcface", "mm": 1}})


def test_document_wraps_long_descriptions_at_100_columns():
    class Long(Strict):
        key: int = Field(default=1, description="word " * 50)

    lines = document(Long, {}).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 100
    assert lines[:3] == [line for line in lines if line.startswith("# word")]
