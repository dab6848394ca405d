"""The JSON schema of a config, for editors."""

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema (2020-12) of what `load` takes; a family is `oneOf` its members, told apart by `type`."""
    return {"$schema": DIALECT, **model.model_json_schema()}
