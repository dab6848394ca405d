"""A hub folder: one folder of which timm, sentence-transformers, transformers and eml each load what they know.

config.json, model.safetensors   the backbone, as timm and transformers have it
modules.json, 1_Dense/ …         what follows it, as sentence-transformers has it
eml/                             a checkpoint, whose backbone's weights are those above it
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from eml.config import Strict
from eml.errors import CheckpointError
from eml.files import digest, text_digest
from eml.json_files import read_json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
CHECKPOINT = "eml"
"""The folder in a hub folder that eml takes for a checkpoint."""
FACTS = "hub.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
HUB = "hf-hub:"
"""Begins the name of a repository of the hub."""


class HubFacts(Strict):
    """eml/hub.json: where the weights of the checkpoint are, and what the folder holds.

    Attributes:
        prefix: What eml's names of the backbone's tensors begin with, and the names in the folder's model.safetensors
            do not.
        renamed: eml's name → the name in model.safetensors, where that is not the prefix alone.
        shapes: eml's name → its shape, where it is another one in model.safetensors.
        head: Names in model.safetensors of what eml has in eml/model.safetensors: the neck, as timm's classifier.
        left_out: What the other libraries do not do, a sentence each.
        files: Path in the folder → digest; the model card, which a user may edit, is not among them.
    """

    format: int = FORMAT
    eml_version: str
    prefix: str = "backbone."
    renamed: dict[str, str] = Field(default_factory=dict)
    shapes: dict[str, list[int]] = Field(default_factory=dict)
    head: list[str] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)


def is_hub_folder(folder: Path) -> bool:
    """Return whether eml wrote the folder for the hub."""
    return (folder / CHECKPOINT / FACTS).is_file()


def read_hub_facts(folder: Path) -> HubFacts:
    """Return what eml/hub.json of a hub folder says.

    Raises:
        CheckpointError: It is missing, damaged or written by a newer eml.
    """
    file = folder / CHECKPOINT / FACTS
    try:
        data = read_json(file, dict[str, Any])
        if isinstance(data.get("format"), int) and data["format"] > FORMAT:
            text = f"{file}: written by a newer eml ({data.get('eml_version')}); upgrade eml to read it"
            raise CheckpointError(text, code="newer-eml")
        return HubFacts.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        text = f"{file}: not that of a hub folder ({key}: {first['msg']}); export the model again"
        raise CheckpointError(text, code="damaged-file") from error
    except (OSError, ValueError) as error:
        text = f"{file}: cannot be read: {error}; export the model again"
        raise CheckpointError(text, code="damaged-file") from error


def checkpoint_bytes(checkpoint: Path) -> int:
    """Return the size of a checkpoint's weights, bytes; in a hub folder of both files."""
    return sum(file.stat().st_size for file in _weight_files(checkpoint))


def checkpoint_digest(checkpoint: Path) -> str:
    """Return the digest of a checkpoint's weights; in a hub folder of both files."""
    digests = [digest(file) for file in _weight_files(checkpoint)]
    return digests[0] if len(digests) == 1 else text_digest(" ".join(digests))


def checkpoint_tensors(checkpoint: Path) -> dict[str, "Tensor"]:
    """Return the weights of a checkpoint folder under eml's names, those of a hub folder from both of its files.

    Raises:
        SafetensorError, OSError: A file cannot be read.
        ValueError: A hub folder's files do not belong together.
        CheckpointError: The facts of a hub folder cannot be read.
    """
    from safetensors.torch import load_file

    own = load_file(checkpoint / WEIGHTS)
    if not (checkpoint / FACTS).is_file():
        return own
    facts = read_hub_facts(checkpoint.parent)
    above = load_file(checkpoint.parent / WEIGHTS)
    for name in facts.head:
        above.pop(name, None)
    for name, stored in facts.renamed.items():
        if stored not in above:
            raise ValueError(f"{checkpoint.parent / WEIGHTS} has no tensor {stored}")
        own[name] = above.pop(stored).reshape(facts.shapes[name]) if name in facts.shapes else above.pop(stored)
    return own | {facts.prefix + name: tensor for name, tensor in above.items()}


def _weight_files(checkpoint: Path) -> list[Path]:
    inside = [checkpoint / WEIGHTS]
    return [checkpoint.parent / WEIGHTS, *inside] if (checkpoint / FACTS).is_file() else inside
