"""The section `compatible_with` of a run's config. Imports no torch."""

from pydantic import Field, model_validator

from eml.config import ConfigPath, Strict
from eml.training.distillation.config import DistillConfig

KEY = "compatible_with"


class CompatibleConfig(Strict):
    """An older model whose gallery the network's queries shall fit; the section may be only its path.

    Backward-compatible training, Shen 2020, arXiv:2003.11942: the new embeddings are also classified by the class
    weights of the older model, which stay as they are (the influence loss, eq. 2). A checkpoint of eml holds no class
    weights, so they are the older model's mean embeddings of the training images of each class, as the paper does for
    classes that the older model was not trained on (section 3.3). See docs/upgrade.md.
    """

    model: ConfigPath = Field(description="the older run or checkpoint, by which an index was made")
    influence: float = Field(
        1.0, ge=0, description="weight of the loss against the older model's class means (arXiv:2003.11942, λ in eq. 2)"
    )
    influence_scale: float = Field(16.0, gt=0, description="scale of the logits of that loss")
    cosine: float = Field(
        5.0,
        ge=0,
        description="weight of 1 − cosine between an image's embedding and the older model's, which also says where "
        "classes lie that are not trained on (arXiv:2006.16331, eq. 7)",
    )
    batch_size: int = Field(64, ge=1, description="images that the older model embeds at once")

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: object) -> object:
        return value if isinstance(value, dict | CompatibleConfig) else {"model": value}

    @model_validator(mode="after")
    def _has_a_term(self) -> "CompatibleConfig":
        if not self.influence and not self.cosine:
            raise ValueError("influence and cosine are both 0, so nothing makes it compatible; set one")
        return self

    @property
    def name(self) -> str:
        """The older model for messages."""
        return str(self.model)

    @property
    def as_teacher(self) -> DistillConfig:
        """The section that loads the older model as a teacher is loaded, in its own way of embedding."""
        return DistillConfig(teacher=self.model, batch_size=self.batch_size)
