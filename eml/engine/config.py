"""The config of a training run, composed of the families' and rooms' own configs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eml.config import ConfigPath, Strict, document
from eml.images.augment import Augment, Standard
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.models.config import HeadConfig, ModelConfig


class DataSource(Strict):
    """One of several datasets."""

    table: ConfigPath = Field(description="a table, or a folder of pictures or tables")
    root: ConfigPath | None = Field(None, description="folder that the table's file names start from; null: its own")
    name: str | None = Field(None, description="of the dataset; null: its folder's, or its table's")


class DataConfig(Strict):
    """Which pictures to train on and which to hold out."""

    table: ConfigPath | Annotated[list[ConfigPath | DataSource], Field(min_length=1)] = Field(
        description="folds.csv, another table, or a folder of pictures or tables; or a list of these, each a path or "
        "{table: …, root: …, name: …}"
    )
    root: ConfigPath | None = Field(
        None, description="folder that the table's file names start from; null: the table's"
    )
    labels: Literal["apart", "merged"] = Field(
        "apart", description="of a list of tables. apart: NAME:LABEL, no class is in two; merged: a label is one class"
    )
    fold: int | None = Field(
        0, ge=0, description="the fold held out for validation; null: train on all pictures, without validation"
    )
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="processes that decode pictures; auto: 0 on a CPU, where they would take training's cores"
    )

    @model_validator(mode="after")
    def _one_root_each(self) -> Self:
        if self.root is not None and isinstance(self.table, list):
            raise ValueError("root goes with one table; write each of the list as {table: …, root: …}")
        return self


class ImageConfig(Strict):
    """The square that the network sees; null: what the backbone's weights were trained with."""

    size: int | None = Field(None, ge=8, le=4096, description="side (pixels)")
    fit: Literal["squash", "crop", "pad"] = Field(
        "squash", description="squash: aspect ratio lost, nothing cut off; crop: middle square; pad: grey borders"
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = Field(None, description="antialiased resampling")
    mean: tuple[float, float, float] | None = Field(None, description="RGB mean in [0, 1]")
    std: tuple[float, float, float] | None = Field(None, description="RGB standard deviation in [0, 1]")


class LearningRates(Strict):
    """Peak learning rates; the newer a part, the larger."""

    backbone: float = Field(1e-4, ge=0, description="of the backbone; 0 freezes it")
    neck: float = Field(1e-3, ge=0, description="of the neck")
    class_weights: float = Field(1e-2, ge=0, description="of the class weights, which start at random")


class OptimizerConfig(Strict):
    """The optimizer, one for all parts."""

    name: str = Field("adamw", description="any of timm's optimizers, see timm.optim.list_optimizers()")
    lr: LearningRates = LearningRates()
    weight_decay: float = Field(0.05, ge=0, description="of backbone and neck; biases and norms have none")
    class_weight_decay: float = Field(0.0, ge=0, description="of the class weights, whose length a margin ignores")
    clip: float | None = Field(None, gt=0, description="largest norm of the whole gradient; null: not clipped")


class ScheduleConfig(Strict):
    """Learning-rate factor per step: linear warm-up from 0, then a cosine to `final`."""

    warmup_epochs: float = Field(0.5, ge=0, description="length of the warm-up (epochs)")
    final: float = Field(0.0, ge=0, le=1, description="factor that the cosine would reach one step after the last")


class ValidationConfig(Strict):
    """Retrieval on the held-out fold after epochs, and before the first."""

    metric: str = Field("map_at_r", description="what `best` goes by: a name from metrics.json, higher is better")
    every: int = Field(1, ge=1, description="validate every so many epochs, and after the last")
    batch_size: int = Field(64, ge=1, description="pictures embedded at once")


class RunConfig(Strict):
    """Everything that decides what a training run does."""

    output: ConfigPath = Field(description="run folder that is made")
    data: DataConfig
    image: ImageConfig = ImageConfig()
    augment: Augment = Standard()
    model: ModelConfig = ModelConfig()
    margin: Margin = ArcFace()
    head: HeadConfig = HeadConfig()
    loss: Loss = CrossEntropy()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    epochs: int = Field(10, ge=1, description="times that every training picture is seen")
    batch_size: int = Field(64, ge=2, description="pictures per step")
    validation: ValidationConfig = ValidationConfig()
    seed: int = Field(28, ge=0, lt=2**63, description="of the weights, the order and the augmentation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; auto takes the first there is")


def example() -> str:
    """A config with every key at its default under a comment: what configs/example_config.yaml holds."""
    head = "# Every key of a training config, at its default; only output and data.table must be given.\n\n"
    return head + document(RunConfig, {"output": "run", "data": {"table": "photos/folds.csv"}})
