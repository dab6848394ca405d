"""The file of `eml probe`, from which `eml init` takes the network."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.errors import DataError, OutputError
from eml.files import unwritable, write_json
from eml.json_files import is_json_with, read_json

NAME = "probe.json"
MADE_BY = "eml probe"


@dataclass(frozen=True)
class ProbePick:
    """Names the network for `eml init`.

    Attributes:
        name: The network as it was named.
        backbone: Its name in timm; None of a run.
        weights: As model.weights: pretrained, a weights file or a run.
        reason: Why it was picked.
        digest: That of the table; None of a folder.
    """

    name: str
    backbone: str | None
    weights: str
    reason: str
    digest: str | None


def refuse_record(path: Path, *, overwrite: bool) -> None:
    """Check before the work that the file can be written.

    Raises:
        OutputError: It is there and another command wrote it, or it cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file", code="not-a-file", parameter="out")
    if path.exists() and not overwrite and not is_json_with(path, {"made_by", "pick", "networks"}):
        text = f"{path}: exists and was not made by {MADE_BY}; set `overwrite` to replace it, or give another `out`"
        raise OutputError(text, code="file-exists", parameter="out")
    if problem := unwritable(path.parent):
        raise OutputError(f"{problem}. Give another `out`", code="not-writable", parameter="out")


def write_record(path: Path, facts: dict[str, Any]) -> None:
    """Write the facts of a probe."""
    write_json(path, {"made_by": MADE_BY, **facts})


def read_pick(path: Path) -> ProbePick:
    """Return the network that a probe picked.

    Raises:
        DataError: There is no such file, it is damaged, or the probe picked none.
    """
    advice = f"Run: {shlex.join(['eml', 'probe', str(path.parent)])}; or name a network"
    try:
        facts = read_json(path, dict[str, Any])
    except FileNotFoundError as error:
        text = f'{path}: there is no such file, from which `backbone="auto"` takes the network. {advice}'
        raise DataError(text, code="missing-file", parameter="backbone") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}", code="damaged-file", parameter="backbone") from error
    chosen = facts.get("pick")
    if not isinstance(chosen, dict):
        raise DataError(f"{path}: the probe picked no network. {advice}", code="damaged-file", parameter="backbone")
    try:
        return ProbePick(
            str(chosen["name"]),
            None if chosen["backbone"] is None else str(chosen["backbone"]),
            str(chosen["weights"]),
            str(chosen["reason"]),
            facts.get("digest"),
        )
    except KeyError as error:
        raise DataError(f"{path}: damaged: no {error}", code="damaged-file", parameter="backbone") from error
