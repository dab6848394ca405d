"""The section `distill` of a run's config. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eml.config import ConfigPath, Strict
from eml.images.image_size import ImageSize
from eml.models.config import Tta

TeacherName = Annotated[
    Annotated[str, Field(pattern=r"^(timm|open_clip|hf-hub):")] | ConfigPath, Field(union_mode="left_to_right")
]
"""A name that `eml.load` takes, or the path of a run or checkpoint."""

OF_A_NAME = ("timm:", "open_clip:")
"""Beginnings of the names of networks that eml did not train."""


class DistillConfig(Strict):
    """A teacher whose embeddings of the training images the network learns to follow; see docs/distill.md.

    Hinton 2015, arXiv:1503.02531, for embeddings: the teacher embeds each image once, as it is, and the student sees it
    augmented.
    """

    teacher: TeacherName | Annotated[list[TeacherName], Field(min_length=1)] = Field(
        description="run, checkpoint, timm:NAME or open_clip:ARCH/PRETRAINED; or a list of these, whose embeddings are "
        "put beside each other"
    )
    weights: Literal["pretrained", "none"] | ConfigPath = Field(
        "pretrained", description="of a teacher timm:NAME or open_clip:…: pretrained, none (random) or a file"
    )
    size: ImageSize | None = Field(
        None, description="(pixels) that the teacher sees images at, or [height, width]; null: its own"
    )
    tta: Tta | None = Field(None, description="views of an image that the teacher averages; null: its own")
    weight: float = Field(1.0, gt=0, description="factor on the sum of the three terms below")
    cosine: float = Field(
        1.0, ge=0, description="weight of 1 − cosine between the embedding and the teacher's of the same image"
    )
    distance: float = Field(
        0.0,
        ge=0,
        description="weight of the difference between the distances of two images, each relative to their mean in the "
        "batch (RKD-D, arXiv:1904.05068)",
    )
    angle: float = Field(
        0.0,
        ge=0,
        description="weight of the difference between the angles of three images (RKD-A, arXiv:1904.05068)",
    )
    centered: bool = Field(
        True,
        description="for the term `cosine`: subtract the mean of the teacher's embeddings, which all images share; "
        "false: follow the teacher's embeddings themselves, so that those of the student may be compared with them",
    )
    labels: float = Field(
        1.0, ge=0, description="factor on the loss of the class head; 0: learn from the teacher alone"
    )
    map: Literal["auto", "linear"] = Field(
        "auto",
        description="what the term `cosine` puts after the embedding, for training alone. auto: nothing, or where the "
        "teacher's has another size a linear map that is learned; linear: that in any case",
    )
    batch_size: int = Field(64, ge=1, description="images that the teacher embeds at once")
    folder: ConfigPath | None = Field(
        None,
        description="folder that keeps the teacher's embeddings, which several runs may share; null: references in the "
        "run folder",
    )

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if not self.cosine + self.distance + self.angle:
            raise ValueError("cosine, distance and angle are all 0, so nothing is learned from the teacher; set one")
        return self

    @model_validator(mode="after")
    def _weights_are_of_a_name(self) -> Self:
        if self.weights != "pretrained" and not any(name.startswith(OF_A_NAME) for name in map(str, self.teachers)):
            raise ValueError("weights is for a teacher timm:NAME or open_clip:…; a run or checkpoint has its own")
        return self

    @property
    def teachers(self) -> list[str | Path]:
        """The names and paths of the teachers."""
        return list(self.teacher) if isinstance(self.teacher, list) else [self.teacher]

    @property
    def name(self) -> str:
        """The teachers for messages, such as `runs/large`."""
        return " + ".join(map(str, self.teachers))

    @property
    def terms(self) -> dict[str, float]:
        """Term → its weight, of those that act."""
        weights = {"cosine": self.cosine, "distance": self.distance, "angle": self.angle}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def compares_pairs(self) -> bool:
        """Whether a term compares images with each other, which mixed images do not allow."""
        return bool(self.distance or self.angle)
