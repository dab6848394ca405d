"""Record the digests of a hub folder's files, so that what is uploaded is what was proven."""

from pathlib import Path
from typing import Any

from eml.errors import CheckpointError
from eml.files import digest, write_json
from eml.json_files import read_json
from eml.models.calibration import NAME as CALIBRATION
from eml.models.hub_folder import CARD, CHECKPOINT, FACTS, HubFacts, read_hub_facts

EXPORT = f"{CHECKPOINT}/export.json"
"""The facts of the export, with the summary of the proof."""
PROOF = "proof.json"
_UNSEALED = (CARD, PROOF, f"{CHECKPOINT}/{FACTS}", f"{CHECKPOINT}/{CALIBRATION}")
"""Files that are uploaded too, and may change: a user edits the card and calibrates again, and a proof comes last."""


def seal(folder: Path) -> HubFacts:
    """Record the digests of a hub folder's files in its eml/hub.json, and return what this says."""
    facts = read_hub_facts(folder)
    paths = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    sealed = facts.model_copy(update={"files": {path: digest(folder / path) for path in paths if _is_own(path)}})
    write_json(folder / CHECKPOINT / FACTS, sealed.model_dump(mode="json"))
    return sealed


def sealed_files(folder: Path, facts: HubFacts) -> list[str]:
    """Return the paths of all files that belong to a hub folder, those that may change included."""
    return sorted([*facts.files, *(path for path in _UNSEALED if (folder / path).is_file())])


def proof_problem(folder: Path) -> str:
    """Return why the proof of a hub folder does not allow it to be uploaded; empty: it passed."""
    file = folder / EXPORT
    try:
        export = read_json(file, dict[str, Any]) if file.is_file() else {}
        proof: Any = export.get("proof")
        record: Any = read_json(folder / PROOF, dict[str, Any]) if (folder / PROOF).is_file() else proof
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: its proof cannot be read: {error}", code="damaged-file") from error
    if not isinstance(proof, dict) or not isinstance(record, dict):
        return f"{folder}: has no proof; export the model again, with images to prove it on"
    if proof.get("passed") is not True or record.get("passed") is not True:
        problems = "".join(f"; {problem}" for problem in record.get("problems") or ())
        return f"{folder}: its proof failed{problems}; nothing that failed is uploaded"
    if record.get("graph", export.get("graph")) != export.get("graph"):
        return f"{folder}: {PROOF} is of another export; export the model again"
    return ""


def _is_own(path: str) -> bool:
    return path not in _UNSEALED and not path.endswith(".html")
