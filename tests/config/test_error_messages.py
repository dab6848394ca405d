"""The exact text of what people will meet."""

import pytest

from eml.config import load
from eml.errors import ConfigError
from tests.config.config_house import House, Reader

KEYS = "data, margin, extra, transforms, optimizer, schedule, sections, weights, kind, size, name, fast, notes"
OPTIMIZER = "a section (keys: lr, betas, epochs, warmup)"


@pytest.mark.parametrize(
    "text, expected",
    [
        # bounds and units
        (
            "margin:\n  type: arcface\n  m: 28.6",
            "run.yaml:4: margin.m must be below 3.1416 (radians), got 28.6. 28.6 degrees is 0.499.",
        ),
        ("margin: {type: arcface, m: -1}", "run.yaml:2: margin.m must be at least 0 (radians), got -1."),
        ("margin: {type: arcface, m: 720}", "run.yaml:2: margin.m must be below 3.1416 (radians), got 720."),
        ("margin: {type: cosface, m: 1.5}", "run.yaml:2: margin.m must be at most 1 (cosine), got 1.5."),
        ("optimizer: {lr: 0}", "run.yaml:2: optimizer.lr must be above 0, got 0."),
        ("optimizer: {lr: .nan}", "run.yaml:2: optimizer.lr must be a finite number, got .nan."),
        ("margin: {type: arcface, m: -.inf}", "run.yaml:2: margin.m must be a finite number, got -.inf."),
        ("optimizer: {warmup: -10}", "run.yaml:2: optimizer.warmup must be at least -9 (epochs), got -10."),
        ("size: 100", "run.yaml:2: size must be a multiple of 32, got 100."),
        ("name: longer", "run.yaml:2: name must have at most 5 characters, got 6."),
        # kinds
        ("optimizer: {epochs: ten}", "run.yaml:2: optimizer.epochs must be a whole number, got 'ten'."),
        ("optimizer: {epochs: 2.5}", "run.yaml:2: optimizer.epochs must be a whole number, got 2.5."),
        ("optimizer: {epochs: true}", "run.yaml:2: optimizer.epochs must be a whole number, got true."),
        ("optimizer:\n  epochs:", "run.yaml:3: optimizer.epochs must be a whole number, got nothing."),
        ("margin: {type: arcface, m: big}", "run.yaml:2: margin.m must be a number, got 'big'."),
        ("margin: {type: arcface, m: false}", "run.yaml:2: margin.m must be a number, got false."),
        ("margin: {type: arcface, m: [1]}", "run.yaml:2: margin.m must be a number, got [1]."),
        ("fast: maybe", "run.yaml:2: fast must be true or false, got 'maybe'."),
        ("name: 123", "run.yaml:2: name must be text, got 123. Put it in quotes."),
        ("kind: smal", "run.yaml:2: kind must be 'small' or 'large', got 'smal' (did you mean 'small'?)."),
        ("kind: 3", "run.yaml:2: kind must be 'small' or 'large', got 3."),
        (
            "optimizer: {lr: atuo}",
            "run.yaml:2: optimizer.lr must be a number or 'auto', got 'atuo' (did you mean 'auto'?).",
        ),
        ("weights: 3", "run.yaml:2: weights must be 'pretrained', 'none' or a path, got 3."),
        ("weights: ''", "run.yaml:2: weights must not be empty"),
        ("optimizer: adamw", f"run.yaml:2: optimizer must be {OPTIMIZER}, got 'adamw'."),
        ("optimizer:", f"run.yaml:2: optimizer must be {OPTIMIZER}, got nothing."),
        ("schedule: 3", f"run.yaml:2: schedule must be {OPTIMIZER} or null, got 3."),
        ("notes: hello", "run.yaml:2: notes must be a section, got 'hello'."),
        ("transforms: {type: flip}", "run.yaml:2: transforms must be a list, got a section."),
        ("optimizer: {betas: 0.9}", "run.yaml:2: optimizer.betas must be a list of 2 items, got 0.9."),
        ("optimizer: {betas: [0.9]}", "run.yaml:2: optimizer.betas must have 2 items, got 1."),
        ("optimizer: {betas: []}", "run.yaml:2: optimizer.betas must have 2 items, got 0."),
        ("optimizer: {betas: [1, 2, 3]}", "run.yaml:2: optimizer.betas must have 2 items, got 3."),
        ("optimizer:\n  betas:\n  - 0.9\n  - x", "run.yaml:5: optimizer.betas.1 must be a number, got 'x'."),
        ("transforms: [{type: one_of, transforms: []}]", "run.yaml:2: transforms.0.transforms must not be empty."),
        # keys
        ("maargin: 1", f"run.yaml:2: unknown key 'maargin' (did you mean 'margin'?); known: {KEYS}"),
        ("zzz: 1", f"run.yaml:2: unknown key 'zzz'; known: {KEYS}"),
        (
            "optimizer: {Epoch: 1}",
            "run.yaml:2: unknown key 'optimizer.Epoch' (did you mean 'epochs'?); known: lr, betas, epochs, warmup",
        ),
        (
            "schedule:\n  wormup: 1",
            "run.yaml:3: unknown key 'schedule.wormup' (did you mean 'warmup'?); known: lr, betas, epochs, warmup",
        ),
        (
            "sections:\n- lr: 1\n- lrr: 1",
            "run.yaml:4: unknown key 'sections.1.lrr' (did you mean 'lr'?); known: lr, betas, epochs, warmup",
        ),
        (
            "transforms:\n- type: flip\n  prob: 1",
            "run.yaml:4: unknown key 'transforms.0.prob'; known: type, p",
        ),
        (
            "extra:\n  type: cosface\n  mm: 1",
            "run.yaml:4: unknown key 'extra.mm' (did you mean 'm'?); known: type, m",
        ),
        ("transforms:\n- type: one_of", "run.yaml:3: transforms.0.transforms is required."),
        ("transforms:\n- one_of", "run.yaml:3: transforms.0.transforms is required."),
        # keys that stand elsewhere
        ("lr: 1", "run.yaml:2: unknown key 'lr' (did you mean optimizer.lr or schedule.lr?)"),
        ("optimizer: {m: 1}", "run.yaml:2: unknown key 'optimizer.m' (did you mean margin.m?)"),
        ("optimizer: {size: 64}", "run.yaml:2: unknown key 'optimizer.size' (did you mean size?)"),
        ("optimizer_warmup: 3", "run.yaml:2: unknown key 'optimizer_warmup' (did you mean optimizer.warmup?)"),
        ("optimizer: {extra: cosface}", "run.yaml:2: unknown key 'optimizer.extra' (did you mean extra?)"),
        ("epocs: 3", "run.yaml:2: unknown key 'epocs' (did you mean optimizer.epochs or schedule.epochs?)"),
        (
            "margin: {optimizer: 3, type: cosface}",
            "run.yaml:2: unknown key 'margin.optimizer' (did you mean optimizer.lr, optimizer.betas or "
            "optimizer.epochs?)",
        ),
        # families
        (
            "margin:\n  m: 1\n  type: arcfce",
            "run.yaml:4: unknown margin 'arcfce' (did you mean 'arcface'?); known: arcface, cosface",
        ),
        (
            "margin: {type: co}",
            "run.yaml:2: unknown margin 'co' (did you mean 'cosface'?); known: arcface, cosface",
        ),
        ("margin: {type: zzz}", "run.yaml:2: unknown margin 'zzz'; known: arcface, cosface"),
        (
            "margin: {type: ARC-FACE}",
            "run.yaml:2: unknown margin 'ARC-FACE' (did you mean 'arcface'?); known: arcface, cosface",
        ),
        ("margin: {type: [arcface]}", "run.yaml:2: unknown margin ['arcface']; known: arcface, cosface"),
        ("margin:\n  m: 1", "run.yaml:2: margin needs a 'type'; known: arcface, cosface"),
        ("margin: {type: }", "run.yaml:2: margin needs a 'type'; known: arcface, cosface"),
        ("margin: arcfce", "run.yaml:2: unknown margin 'arcfce' (did you mean 'arcface'?); known: arcface, cosface"),
        ("margin: 3", "run.yaml:2: margin must be a name or a section with a 'type', got 3; known: arcface, cosface"),
        (
            "margin:",
            "run.yaml:2: margin must be a name or a section with a 'type', got nothing; known: arcface, cosface",
        ),
        (
            "extra: cosfase",
            "run.yaml:2: unknown margin 'cosfase' (did you mean 'cosface'?); known: arcface, cosface",
        ),
        (
            "extra: {type: cosfce}",
            "run.yaml:2: unknown margin 'cosfce' (did you mean 'cosface'?); known: arcface, cosface",
        ),
        (
            "transforms:\n- type: flip\n- type: flp",
            "run.yaml:4: unknown transform 'flp' (did you mean 'flip'?); known: flip, one_of",
        ),
        (
            "transforms: [flp]",
            "run.yaml:2: unknown transform 'flp' (did you mean 'flip'?); known: flip, one_of",
        ),
        (
            "transforms:\n- type: one_of\n  transforms:\n  - type: flip\n    p: 2",
            "run.yaml:6: transforms.0.transforms.0.p must be at most 1, got 2.",
        ),
        # our own validators
        ("name: a b", "run.yaml:2: name must be one word, got 'a b'"),
        (
            "optimizer:\n  epochs: 5\n  warmup: 9",
            "run.yaml:4: optimizer.warmup must be at most epochs (5), got 9",
        ),
        ("optimizer:\n  epochs: 1\n  warmup: 2", "run.yaml:4: optimizer.warmup must be at most epochs (1), got 2"),
        ("sections:\n- {}\n- warmup: 20", "run.yaml:4: sections.1.warmup must be at most epochs (10), got 20"),
    ],
)
def test_error_says_where_what_and_how_to_mend_it(reader: Reader, text: str, expected: str):
    assert reader.problems(f"data: a\n{text}") == [expected]


def test_section_that_may_also_be_a_path_is_explained_as_a_section(reader: Reader):
    assert reader.problems("data: {table: a}") == ["run.yaml:1: data.root is required."]
    assert reader.problems("data: {table: a, rot: b}") == [
        "run.yaml:1: unknown key 'data.rot' (did you mean 'root'?); known: table, root"
    ]
    assert reader.problems("data: [a]") == [
        "run.yaml:1: data must be a path or a section (keys: table, root), got ['a']."
    ]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(reader: Reader):
    text = """\
size: 3
name: a b
name: c
margin: {type: arcfce}
optimizer: {epochs: true, warmup: x}
<<: {}
"""
    assert reader.problems(text, "kind=tiny", "foo") == [
        "run.yaml:1: data is required.",
        "run.yaml:1: size must be a multiple of 32, got 3.",
        "run.yaml:2: name must be one word, got 'a b'",
        "run.yaml:3: name is given twice, first on line 2",
        "run.yaml:4: unknown margin 'arcfce' (did you mean 'arcface'?); known: arcface, cosface",
        "run.yaml:5: optimizer.warmup must be a whole number, got 'x'.",
        "run.yaml:5: optimizer.epochs must be a whole number, got true.",
        "run.yaml:6: merge keys (<<) are not supported; write the keys out",
        "--set kind=tiny: kind must be 'small' or 'large', got 'tiny'.",
        "--set foo: must be key=value, for example section.key=value",
    ]


def test_required_key_that_was_misspelt_is_reported_once(reader: Reader):
    assert reader.problems("dta: a") == [f"run.yaml:1: unknown key 'dta' (did you mean 'data'?); known: {KEYS}"]


def test_flag_beyond_the_end_of_a_tuple_is_reported_beside_the_length(reader: Reader):
    assert reader.problems("data: a\noptimizer: {betas: [1, 2, true]}") == [
        "run.yaml:2: optimizer.betas must have 2 items, got 3.",
        "run.yaml:2: optimizer.betas.2 must be a number, got true.",
    ]


def test_long_values_are_cut(reader: Reader):
    (problem,) = reader.problems(f"data: a\nfast: {'x' * 500}")
    assert problem == f"run.yaml:2: fast must be true or false, got '{'x' * 60}…'."


@pytest.mark.parametrize(
    "text, code, key",
    [
        ("margin: {type: arcface, m: 4}", "out-of-range", "margin.m"),
        ("optimizer: {betas: [1]}", "out-of-range", "optimizer.betas"),
        ("optimizer: {epochs: ten}", "wrong-type", "optimizer.epochs"),
        ("optimizer: {epochs: true}", "wrong-type", "optimizer.epochs"),
        ("margin: 3", "wrong-type", "margin"),
        ("margin: arcfce", "unknown-choice", "margin"),
        ("margin: {type: arcfce}", "unknown-choice", "margin"),
        ("margin: {m: 1}", "missing-key", "margin"),
        ("data: {table: a}", "missing-key", "data.root"),
        ("optimizer: {epoch: 1}", "unknown-key", "optimizer.epoch"),
        ("optimizer: {epochs: 1, warmup: 2}", "invalid-value", "optimizer.warmup"),
        ("name: a b", "invalid-value", "name"),
        ("name: a\nname: b", "repeated-key", "name"),
    ],
)
def test_problem_has_a_code_and_the_dotted_key(reader: Reader, text: str, code: str, key: str):
    (problem,) = reader.problems(text if text.startswith("data") else f"data: a\n{text}")
    assert (problem.code, problem.parameter) == (code, key)


@pytest.mark.parametrize(
    "override, code, key",
    [
        ("margin.m=4", "out-of-range", "margin.m"),
        ("margin.m.x=1", "unknown-key", "margin.m.x"),
        ("lr=1", "unknown-key", "lr"),
        ("name=[a", "not-yaml", "name"),
        ("name", "not-an-override", "name"),
    ],
)
def test_problem_of_an_override_has_a_code_and_the_dotted_key(reader: Reader, override: str, code: str, key: str):
    (problem,) = reader.problems("data: a\nmargin: {type: arcface, m: 0.3}", override)
    assert (problem.code, problem.parameter) == (code, key)


def test_an_override_is_called_so_unless_the_caller_has_another_name_for_it(reader: Reader):
    (reader.folder / "run.yaml").write_text("data: a")
    with pytest.raises(ConfigError, match=r"^override size=3: size must be a multiple of 32, got 3\.$"):
        load(House, "run.yaml", ["size=3"])


def test_of_many_problems_twenty_are_listed_and_the_others_counted(reader: Reader):
    problems = reader.problems("data: x\n" + "".join(f"wrong_{number}: 1\n" for number in range(3000)))
    assert len(problems) == 21
    assert problems[0].startswith("run.yaml:2: unknown key 'wrong_0'")
    assert problems[-1] == "run.yaml: and 2,980 more problems like these"
