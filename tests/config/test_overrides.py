from pathlib import Path

import pytest

from tests.config.config_house import ArcFace, CosFace, Flip, Optimizer, Reader

FILE = """\
data: a
margin: {type: arcface, m: 0.3}
transforms:
- {type: flip, p: 0.1}
- {type: flip, p: 0.2}
optimizer: {lr: 1.0}
"""


@pytest.mark.parametrize(
    "override, key, expected",
    [
        ("margin.m=.7", "margin", ArcFace(m=0.7)),
        ("optimizer.lr=1e-4", "optimizer", Optimizer(lr=1e-4)),
        ("optimizer.lr=auto", "optimizer", Optimizer(lr="auto")),
        (" name = b ", "name", "b"),
        ("name=no", "name", "no"),
        ("name='12'", "name", "12"),
        ("name=a=b", "name", "a=b"),
        ("transforms.1.p=1", "transforms", [Flip(p=0.1), Flip(p=1)]),
        ("transforms=[]", "transforms", []),
        ("transforms.0={type: flip}", "transforms", [Flip(), Flip(p=0.2)]),
        ("margin={type: cosface, m: .2}", "margin", CosFace(m=0.2)),
        ("extra.type=cosface", "extra", CosFace()),
        ("margin=cosface", "margin", CosFace()),
        ("margin=arcface", "margin", ArcFace()),
        ("transforms.0=flip", "transforms", [Flip(), Flip(p=0.2)]),
        ("transforms=[flip]", "transforms", [Flip()]),
        ("schedule.lr=2", "schedule", Optimizer(lr=2)),
        ("notes.a.b=[1, x]", "notes", {"a": {"b": [1, "x"]}}),
        ("schedule=", "schedule", None),
    ],
)
def test_override_puts_a_yaml_value_in_its_place(reader: Reader, override: str, key: str, expected: object):
    assert getattr(reader.load(FILE, override), key) == expected


def test_last_override_of_a_key_wins(reader: Reader):
    assert reader.load(FILE, "name=a", "name=b").name == "b"


def test_null_takes_out_a_key_that_cannot_be_null_and_its_default_counts(reader: Reader):
    assert reader.load(FILE, "margin.m=null").margin == ArcFace()
    assert reader.load(FILE, "optimizer.lr=null", "margin=null").optimizer == Optimizer()
    assert reader.load("data: a\nschedule: {lr: 2}", "schedule=null").schedule is None, "null is a value of its own"
    assert reader.problems(FILE, "data=null") == [
        "--set data=null: data must be a path or a section (keys: table, root), got nothing."
    ]
    assert reader.problems(FILE + "name: null") == ["run.yaml:7: name must be text, got nothing."]


def test_override_in_a_section_the_file_leaves_out_changes_its_default(reader: Reader):
    config = reader.load("data: a", "margin.m=1", "optimizer.warmup=3")
    assert config.margin == ArcFace(m=1)
    assert config.optimizer == Optimizer(epochs=20, warmup=3)  # the field's default has 20 epochs, the class 10


def test_override_in_a_section_that_the_file_sets_to_null_starts_empty(reader: Reader):
    assert reader.load("data: a\nschedule:", "schedule.lr=3").schedule == Optimizer(lr=3)


def test_type_clears_the_rest_of_its_section(reader: Reader):
    assert reader.load(FILE, "margin.type=cosface").margin == CosFace()
    assert reader.load(FILE, "margin.type=cosface", "margin.m=.2").margin == CosFace(m=0.2)
    assert reader.load("data: a", "margin.type=cosface").margin == CosFace()
    assert reader.load(FILE, "transforms.0.type=flip").transforms[0] == Flip()


def test_override_inside_a_short_form_changes_the_member(reader: Reader):
    assert reader.load("data: a\nmargin: cosface", "margin.m=.2").margin == CosFace(m=0.2)
    assert reader.load("data: a", "margin=cosface", "margin.m=.2").margin == CosFace(m=0.2)
    assert reader.load("data: a\ntransforms: [flip]", "transforms.0.p=1").transforms == [Flip(p=1)]
    assert reader.load("data: a\nmargin: cosface", "margin.type=arcface", "margin.m=2").margin == ArcFace(m=2)


def test_override_that_a_later_short_form_replaces_is_an_error(reader: Reader):
    assert reader.problems(FILE, "margin.m=.2", "margin=cosface") == [
        "--set margin.m=.2: is undone by the later --set margin=cosface; give the whole section first"
    ]


def test_type_outside_of_a_family_is_an_ordinary_key(reader: Reader):
    assert reader.load("data: a\nnotes: {a: 1}", "notes.type=x").notes == {"a": 1, "type": "x"}


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (["margin.m=28"], "margin.m must be below 3.1416 (radians), got 28. 28 degrees is 0.489."),
        (["margin.type=cosfce"], "unknown margin 'cosfce' (did you mean 'cosface'?); known: arcface, cosface"),
        (["extra.m=1"], "extra needs a 'type'; known: arcface, cosface"),
        (["margin=cosfce"], "unknown margin 'cosfce' (did you mean 'cosface'?); known: arcface, cosface"),
        (["m=1"], "unknown key 'm' (did you mean margin.m?)"),
        (["margin={m: 1}"], "margin needs a 'type'; known: arcface, cosface"),
        (["margin={type: cosface, m: 3}"], "margin.m must be at most 1 (cosine), got 3."),
        (["transforms.0.type=one_of"], "transforms.0.transforms is required."),
        (
            ["schedule.wamup=1"],
            "unknown key 'schedule.wamup' (did you mean 'warmup'?); known: lr, betas, epochs, warmup",
        ),
        (["data.table=x"], "data is 'a', which has no key 'table'"),
        (["margin.m.x=1"], "margin.m is 0.3, which has no key 'x'"),
        (["margin.m.x.y=1"], "margin.m is 0.3, which has no key 'x'"),
        (["transforms.2.p=1"], "transforms is a list and needs an index from 0 to 1, got '2'"),
        (["transforms.2={type: flip}"], "transforms is a list and needs an index from 0 to 1, got '2'"),
        (["transforms.-1.p=1"], "transforms is a list and needs an index from 0 to 1, got '-1'"),
        (["transforms.first.p=1"], "transforms is a list and needs an index from 0 to 1, got 'first'"),
        (["sections.0.lr=1"], "sections is a list and needs an index but it is empty, got '0'"),
        (["=3"], "the key is empty"),
        (["a..b=3"], "a part of the key is empty"),
        ([".a=3"], "a part of the key is empty"),
        (["margin.m"], "must be key=value, for example section.key=value"),
        (["name=[a"], "not YAML: expected ',' or ']', but got '<stream end>'"),
        (["name=!!str a"], "the tag !!str is not supported; write the plain value"),
        (["notes={a: 1, a: 2}"], "a is given twice, first on line 1"),
    ],
)
def test_error_of_an_override_names_it(reader: Reader, overrides: list[str], expected: str):
    assert reader.problems(FILE, *overrides) == [f"--set {overrides[-1]}: {expected}"]


def test_override_that_a_later_type_clears_is_an_error(reader: Reader):
    assert reader.problems(FILE, "margin.m=.2", "margin.type=cosface") == [
        "--set margin.m=.2: is undone by the later --set margin.type=cosface; give the type first"
    ]


def test_value_of_the_file_beside_an_override_keeps_its_line(reader: Reader):
    problems = reader.problems("data: a\nmargin: {type: arcface}\noptimizer:\n  epochs: 0", "optimizer.lr=-1")
    assert problems == [
        "run.yaml:4: optimizer.epochs must be at least 1, got 0.",
        "--set optimizer.lr=-1: optimizer.lr must be above 0, got -1.",
    ]


def test_misspelt_section_in_an_override_gets_a_suggestion(reader: Reader):
    (problem,) = reader.problems(FILE, "marign.m=1")
    assert problem.startswith("--set marign.m=1: unknown key 'marign' (did you mean 'margin'?); known: data, ")


def test_file_is_not_changed_by_overrides(reader: Reader):
    reader.load(FILE, "margin.m=1")
    assert Path("run.yaml").read_text() == FILE
