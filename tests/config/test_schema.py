from typing import Any

import pytest

from eml.config import Choice, Strict, schema
from tests.config.config_house import CosFace, Flip, House, OneOf

SCHEMA = schema(House)


def fits(value: Any, part: dict[str, Any]) -> bool:
    """Return whether a value fits a JSON schema; only the keywords that describe a config's structure count."""
    if "$ref" in part:
        return fits(value, SCHEMA["$defs"][part["$ref"].removeprefix("#/$defs/")])
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}
    kinds["null"] = type(None)
    checks = [
        "type" not in part or isinstance(value, kinds[part["type"]]),
        "const" not in part or value == part["const"],
        "enum" not in part or value in part["enum"],
        "anyOf" not in part or any(fits(value, option) for option in part["anyOf"]),
        "oneOf" not in part or sum(fits(value, option) for option in part["oneOf"]) == 1,
        "items" not in part or not isinstance(value, list) or all(fits(item, part["items"]) for item in value),
    ]
    if isinstance(value, dict) and "properties" in part:
        known = part["properties"]
        checks += [key in value for key in part.get("required", [])]
        checks += [fits(item, known[key]) if key in known else False for key, item in value.items()]
    return all(checks)


def test_every_valid_config_fits():
    config = House(
        data="/x", margin=CosFace(), extra=None, transforms=[OneOf(transforms=[Flip()])], schedule={"lr": "auto"}
    )
    assert fits(config.model_dump(mode="json"), SCHEMA)
    assert fits({"data": {"table": "t", "root": "r"}}, SCHEMA)
    assert fits({"data": "x", "margin": "arcface", "extra": "cosface", "transforms": ["flip"]}, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"data": "x", "marign": {}},
        {"data": "x", "margin": {"m": 1}},
        {"data": "x", "margin": {"type": "arcfce"}},
        {"data": "x", "margin": {"type": "arcface", "mm": 1}},
        {"data": "x", "extra": "arcfce"},
        {"data": "x", "transforms": ["one_of"]},
        {"data": "x", "transforms": [{"type": "arcface"}]},
        {"data": "x", "transforms": [{"type": "one_of", "transforms": [{}]}]},
        {"data": "x", "optimizer": {"lr": "fast"}},
    ],
)
def test_wrong_config_does_not_fit(wrong: dict[str, Any]):
    assert not fits(wrong, SCHEMA)


def test_family_is_one_of_its_members_by_type_or_by_name():
    margin, name = SCHEMA["properties"]["margin"]["anyOf"]
    assert name == {"enum": ["arcface", "cosface"], "type": "string"}
    assert SCHEMA["$defs"]["OneOf"]["properties"]["transforms"]["items"]["anyOf"][1]["enum"] == ["flip"]
    assert margin["oneOf"] == [{"$ref": "#/$defs/ArcFace"}, {"$ref": "#/$defs/CosFace"}]
    assert margin["discriminator"]["propertyName"] == "type"
    assert SCHEMA["$defs"]["ArcFace"]["required"] == ["type"]
    assert SCHEMA["$defs"]["OneOf"]["required"] == ["type", "transforms"]
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_descriptions_are_in_the_schema():
    assert SCHEMA["properties"]["data"]["description"] == "where the images are listed"
    described = SCHEMA["$defs"]["ArcFace"]["properties"]["m"]["description"]
    assert described == "(radians) added to the angle of the target class"


def test_member_defined_later_is_in_the_schema():
    from typing import Literal

    class Family(Choice):
        pass

    class Outer(Strict):
        inner: Family

    assert schema(Outer)["properties"]["inner"]["not"] == {}

    class Late(Family):
        type: Literal["late"] = "late"

    assert schema(Outer)["properties"]["inner"]["anyOf"][0]["oneOf"] == [{"$ref": "#/$defs/Late"}]
