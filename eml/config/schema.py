"""The JSON schema of a config, for editors."""

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of what `load` accepts.

    A family is one of its members, distinguished by `type`, or the name of a member whose keys all have defaults.
    """
    return {"$schema": DIALECT, **model.model_json_schema()}
