"""Leave out values of validation sets that had other images when they were measured."""

from collections.abc import Mapping
from typing import Any


def drop_incomparable(line: dict[str, Any], since: Mapping[str, Any]) -> dict[str, Any]:
    """Return a validation's line without the values of sets whose images were others in its epoch.

    Args:
        line: Has values of a set as `SET/METRIC`, of the held-out fold as `METRIC`.
        since: Name of a set → the first epoch with its images of now.
    """
    dropped = {name for name, first in since.items() if line["epoch"] < first}
    return {
        key: value for key, value in line.items() if key in ("epoch", "step") or key.rpartition("/")[0] not in dropped
    }
