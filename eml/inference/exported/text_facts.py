"""Facts that an exported text tower holds: which images its embeddings are compared with, and how texts are read."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from eml.config import Strict
from eml.errors import CheckpointError

FORMAT = 1
Cleaning = Literal["ftfy", "unescape", "strip", "whitespace", "lower", "canonicalize"]
"""Steps before the tokenizer, see `eml.inference.exported.text_cleaning`."""


class TextProof(Strict):
    """Figures of an exported text tower beside the one that it was made from.

    Attributes:
        passed: Whether all limits were kept.
        problems: Why not, a sentence each.
        labels: The number of class names that were compared.
        awkward: The number of texts of a fixed list that were compared: accents, emoji, entities, long ones and more.
        limit: What the least cosine has to be at least.
        least_cosine: The smallest cosine between the two embeddings of one text; null: it cannot be run.
        largest_difference: The largest distance between them.
    """

    passed: bool
    problems: tuple[str, ...] = ()
    labels: int
    awkward: int
    limit: float
    least_cosine: float | None = None
    largest_difference: float | None = None


class TextFacts(Strict):
    """The facts of an exported text tower.

    Attributes:
        format: Of these facts; a file of a higher one is of a newer eml.
        kind: What the file embeds.
        eml_version: Of the eml that wrote it.
        embedding_size: D.
        context_length: Tokens of a text; what a text has beyond them is cut off.
        image_graph: The `graph` of the file with the image tower that it belongs to.
        graph: blake2b-128 of the graph and its weights, without these facts, 32 hex digits.
        tokenizer: blake2b-128 of the tokenizer's file, 32 hex digits.
        cleaning: What is done to a text before the tokenizer, in this order.
        erased_token: A token that is replaced by 0 after the tokenizer; null: none.
        logit_scale: Factor of cosines in the loss that it was trained with.
        logit_bias: What that loss adds to scaled cosines (SigLIP); null: nothing.
        proof: What was proven; null: nothing.
    """

    format: int = Field(FORMAT, ge=1)
    kind: Literal["text"] = "text"
    eml_version: str
    embedding_size: int = Field(ge=1)
    context_length: int = Field(ge=1)
    image_graph: str
    graph: str
    tokenizer: str
    cleaning: tuple[Cleaning, ...]
    erased_token: int | None = None
    logit_scale: float
    logit_bias: float | None = None
    proof: TextProof | None = None

    def text(self) -> str:
        """Return the facts as the JSON that is kept in the file."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)


def text_path(path: Path) -> Path:
    """Return the place of the text tower that belongs to a file with an image tower, such as model.text.onnx."""
    return path.with_name(f"{path.stem}.text.onnx")


def tokenizer_path(path: Path) -> Path:
    """Return the place of its tokenizer, such as model.text.tokenizer.json."""
    return path.with_name(f"{path.stem}.text.tokenizer.json")


def read_text_facts(text: str | None, name: str) -> TextFacts:
    """Return the facts that a text tower keeps.

    Args:
        text: What is kept under `eml.inference.exported.facts.KEY`; None: nothing is.
        name: The file, for messages.

    Raises:
        CheckpointError: There are none, they cannot be read, or a newer eml wrote them.
    """
    try:
        data: Any = json.loads(text or "null")
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            problem = f"{name}: is of a newer eml (format {data['format']}, this one reads {FORMAT}); update eml"
            raise CheckpointError(problem, code="newer-eml")
        return TextFacts.model_validate(data)
    except (ValidationError, ValueError, RecursionError) as error:
        problem = f"{name}: is no text tower of eml export; export the checkpoint again"
        raise CheckpointError(problem, code="damaged-file") from error
