import pickle
from typing import Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from eml.config import Choice, Strict


class Sampler(Choice):
    pass


class Shuffle(Sampler):
    type: Literal["shuffle"] = "shuffle"
    seed: int = 0


class Config(Strict):
    sampler: Sampler
    more: list[Sampler] = Field(default=[])


def test_member_is_picked_by_its_type():
    assert Config.model_validate({"sampler": {"type": "shuffle", "seed": 3}}).sampler == Shuffle(seed=3)


def test_name_of_a_member_is_its_short_form():
    config = Config.model_validate({"sampler": "shuffle", "more": ["shuffle", {"type": "shuffle", "seed": 2}]})
    assert config == Config(sampler=Shuffle(), more=[Shuffle(), Shuffle(seed=2)])
    assert config.model_dump()["sampler"] == {"type": "shuffle", "seed": 0}
    assert TypeAdapter(Sampler | None).validate_python("shuffle") == Shuffle()
    with pytest.raises(ValidationError, match="unknown sampler 'shufle' \\(did you mean 'shuffle'\\?\\)"):
        Config.model_validate({"sampler": "shufle"})


def test_instance_of_a_member_is_taken_as_it_is():
    sampler = Shuffle(seed=3)
    assert Config(sampler=sampler).sampler is sampler


def test_instance_of_another_family_is_refused():
    class Pooling(Choice):
        pass

    class Gem(Pooling):
        type: Literal["gem"] = "gem"

    with pytest.raises(ValidationError, match="must be a name or a section with a 'type', got Gem"):
        Config(sampler=Gem())


def test_member_defined_after_the_config_is_accepted():
    class Family(Choice):
        pass

    class Outer(Strict):
        inner: Family | None = None

    with pytest.raises(ValidationError, match="unknown family 'late'; known: none"):
        Outer.model_validate({"inner": {"type": "late"}})

    class Late(Family):
        type: Literal["late"] = "late"

    assert Outer.model_validate({"inner": {"type": "late"}}).inner == Late()
    assert TypeAdapter(Family).validate_python({"type": "late"}) == Late()


def test_members_are_listed_by_type_and_belong_to_one_family_only():
    class Other(Choice):
        pass

    assert Sampler.members() == {"shuffle": Shuffle}
    assert Other.members() == {}


def test_second_member_with_a_type_raises_and_leaves_the_first():
    with pytest.raises(TypeError, match=r"Shuffle2: type 'shuffle' is taken by .*\.Shuffle$"):

        class Shuffle2(Sampler):
            type: Literal["shuffle"] = "shuffle"

    assert Sampler.members() == {"shuffle": Shuffle}


def test_class_defined_again_in_the_same_place_replaces_the_first():
    class Family(Choice):
        pass

    def cell(first: bool) -> type[Family]:
        if first:

            class Cell(Family):
                type: Literal["a"] = "a"
        else:

            class Cell(Family):
                type: Literal["b"] = "b"

        return Cell

    cell(True)
    again = cell(True)
    assert Family.members() == {"a": again}
    renamed = cell(False)
    assert Family.members() == {"b": renamed}


@pytest.mark.parametrize(
    "body",
    ["pass", "type: str = 'x'", "type: Literal['x']", "type: Literal['x', 'y'] = 'x'", "type: Literal[3] = 3"],
)
def test_member_without_a_literal_type_raises(body: str):
    class Family(Choice):
        pass

    with pytest.raises(TypeError, match=r"Wrong needs a literal type, for example type: Literal\['name'\] = 'name'"):
        exec(f"class Wrong(Family):\n    {body}", {"Family": Family, "Literal": Literal})
    assert Family.members() == {}


def test_subclass_of_a_member_raises():
    with pytest.raises(TypeError, match="Slow extends a member; extend its family instead"):

        class Slow(Shuffle):
            type: Literal["slow"] = "slow"


def test_error_inside_a_member_keeps_its_place_in_the_whole():
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"sampler": {"type": "shuffle", "seed": "x"}, "more": [{"type": "shuffle", "sed": 1}]})
    assert [error["loc"] for error in caught.value.errors()] == [("sampler", "seed"), ("more", 0, "sed")]


def test_members_are_serialized_with_all_their_keys():
    config = Config(sampler=Shuffle(seed=1), more=[Shuffle()])
    assert config.model_dump() == {
        "sampler": {"type": "shuffle", "seed": 1},
        "more": [{"type": "shuffle", "seed": 0}],
    }
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_config_is_frozen_and_refuses_infinities():
    class Rate(Strict):
        rate: float

    with pytest.raises(ValidationError, match="frozen"):
        Shuffle().seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="finite"):
        Rate(rate=float("inf"))
    with pytest.raises(ValidationError, match="Extra inputs"):
        Rate(rate=1, rat=2)  # type: ignore[call-arg]


def test_default_is_checked_like_any_value():
    class Rate(Strict):
        rate: float = float("nan")

    with pytest.raises(ValidationError, match="finite"):
        Rate()
