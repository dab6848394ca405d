"""Facts that an exported file holds: how its images are read, which model it was made from, and what was proven."""

import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from eml.config import Strict
from eml.errors import CheckpointError
from eml.images.preprocess import Preprocess
from eml.inference.exported.trained_record import TrainedRecord
from eml.models.calibration import Calibration
from eml.models.fingerprint import Fingerprint

FORMAT = 1
KEY = "eml"
"""The name under which the facts are kept in a file of another library, as JSON."""
InputKind = Literal["uint8", "float"]
"""uint8: pixels (B, H, W, 3), RGB; the graph normalises them. float: (B, 3, H, W), normalised outside."""
ExportPrecision = Literal["float32", "float16", "int8"]


class ProofSummary(Strict):
    """The measurements of an exported file beside the model that it was made from, on real images.

    Attributes:
        passed: Whether all limits were kept.
        problems: Why not, a sentence each.
        table: The name of the table of the images.
        images: Their number.
        classes: The number of their classes.
        least_cosine: The smallest cosine between the two embeddings of one image; null: they cannot be compared.
        mean_cosine: The mean.
        top_10_agreement: Mean share of an image's 10 nearest that are the same.
        recall_at_1: Of the exported file.
        map_at_r: Of the exported file.
        recall_at_1_before: Of the model that it was made from.
        map_at_r_before: Of the model that it was made from.
        map_at_r_change: 95 % interval of the difference of MAP@R, over classes; null: no query changed.
    """

    passed: bool
    problems: list[str] = Field(default_factory=list)
    table: str
    images: int
    classes: int | None = None
    least_cosine: float | None = None
    mean_cosine: float | None = None
    top_10_agreement: float | None = None
    recall_at_1: float | None = None
    map_at_r: float | None = None
    recall_at_1_before: float | None = None
    map_at_r_before: float | None = None
    map_at_r_change: tuple[float, float] | None = None


class ExportFacts(Strict):
    """The facts of an exported file.

    Attributes:
        format: Of these facts; a file of a higher one is of a newer eml.
        eml_version: Of the eml that wrote it.
        input: What the graph takes.
        preprocess: How an image becomes the graph's pixels: decoding and resizing stay outside.
        embedding_size: D.
        backbone: Its name.
        precision: Of the weights and products.
        precision_details: How it was made, in words; empty for float32.
        source: The fingerprint of the model that was exported.
        graph: blake2b-128 of the graph and its weights, without these facts, 32 hex digits.
        trained_on: What the model was trained on; null: unknown.
        unknown_label: The label of images of unknown identity in its training, which are of no class; null: none.
        calibration: The threshold and the probability map of this file; null: it is not calibrated.
        proof: What was proven; null: nothing.
        no_texts: Why no text tower goes with it, though the model has one; empty: one does, or it has none.
    """

    format: int = Field(FORMAT, ge=1)
    eml_version: str
    input: InputKind = "uint8"
    preprocess: Preprocess
    embedding_size: int = Field(ge=1)
    backbone: str
    precision: ExportPrecision = "float32"
    precision_details: str = ""
    source: Fingerprint
    graph: str = ""
    trained_on: TrainedRecord | None = None
    unknown_label: str | None = None
    calibration: Calibration | None = None
    proof: ProofSummary | None = None
    no_texts: str = ""

    def text(self) -> str:
        """Return the facts as the JSON that is kept in the file."""
        data = self.model_dump(mode="json")
        if self.calibration is not None:
            data["calibration"] = self.calibration.to_json()
        return json.dumps(data, ensure_ascii=False, allow_nan=False)


def read_facts(text: str | None, name: str) -> ExportFacts:
    """Return the facts that a file keeps.

    Args:
        text: What is kept under `KEY`; None: nothing is.
        name: The file, for messages.

    Raises:
        CheckpointError: There are none, they cannot be read, or a newer eml wrote them.
    """
    if text is None:
        problem = f"{name}: is not of eml export, so that nothing says how its images are read; export a checkpoint"
        raise CheckpointError(problem, code="damaged-file")
    try:
        data: Any = json.loads(text)
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            problem = f"{name}: is of a newer eml (format {data['format']}, this one reads {FORMAT}); update eml"
            raise CheckpointError(problem, code="newer-eml")
        if isinstance(data, dict) and data.get("kind") == "text":
            problem = (
                f"{name}: is the text tower of an exported model; give the file with its images, such as model.onnx"
            )
            raise CheckpointError(problem, code="no-checkpoint")
        return ExportFacts.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        problem = f"{name}: its facts cannot be read ({key}: {first['msg']}); export the checkpoint again"
        raise CheckpointError(problem, code="damaged-file") from error
    except (ValueError, RecursionError) as error:
        problem = f"{name}: its facts are no JSON; export the checkpoint again"
        raise CheckpointError(problem, code="damaged-file") from error
