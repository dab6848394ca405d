"""The config of a training run, composed of the configs of families and rooms."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eml.config import ConfigPath, PluginNames, Strict, document
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.splits.task import USUAL, Task
from eml.head.config import HeadConfig
from eml.head.text_terms import TextTerm
from eml.images.augment import Augment
from eml.images.augment.standard import Standard
from eml.images.flatten import Background
from eml.images.image_size import ImageSize
from eml.images.mixes import Mix
from eml.images.preprocess import Deviation, Mean, Resize
from eml.images.samplers import Sampler
from eml.images.samplers.shuffle import Shuffle
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.models.config import ModelConfig
from eml.models.tuning import Tune
from eml.models.tuning.full import Full
from eml.texts.class_texts import ClassTexts
from eml.trackers import Tracker
from eml.training.compatibility.config import CompatibleConfig
from eml.training.cuda import CudaConfig
from eml.training.distillation.config import DistillConfig

OF_ANOTHER_SIZE = ("linear", "mlp")
"""Necks that make embeddings of another size than the network's features, which have no stages."""


class OwnTable(Strict):
    """Keys that say how to read a table of one's own; what eml writes needs none of them."""

    file_column: str | None = Field(None, description="column with the images' names; null: file_name")
    label_column: str | None = Field(None, description="column with the classes; null: label")
    strip_prefix: str | None = Field(None, description="text to take away from the beginning of the names")
    path_prefix: str | None = Field(
        None, description="text to put before the names, such as train/; {COLUMN} stands for the row's value"
    )
    path_suffix: str | None = Field(None, description="text to put after names that do not end in it, such as .jpg")
    match_names: bool = Field(
        False, description="take the one image whose path differs only in slashes, case or suffix"
    )

    @property
    def columns(self) -> ColumnMap:
        """The same for the reader of tables."""
        return ColumnMap(**{name: getattr(self, name) for name in OwnTable.model_fields})


class DataSource(OwnTable):
    """One of several datasets."""

    table: ConfigPath = Field(description="a table, or a folder of images or tables")
    root: ConfigPath | None = Field(
        None, description="folder that the table's file names are relative to; null: the table's own"
    )
    name: str | None = Field(None, description="name of the dataset; null: that of its folder or table")


class CacheConfig(Strict):
    """Images decoded once and stored smaller; the section may be only the format, `cache: raw`."""

    format: Literal["raw", "jpeg"] = Field(
        "raw",
        description="raw: fastest, 3 bytes per pixel; jpeg: a fifth of the space, decoded in every epoch",
    )
    quality: int = Field(95, ge=50, le=100, description="quality of jpeg")
    side: ImageSize | None = Field(
        None,
        description="(pixels) a stored image is no larger than its shorter side, or [height, width], need; null: what "
        "crops need, image.size / √(1 − crop)",
    )
    validation: bool = Field(
        True,
        description="also store the images of the validation, raw and at image.size; its results stay the same",
    )
    folder: ConfigPath | None = Field(
        None, description="folder of caches; null: .eml_cache in the folder that file names are relative to"
    )

    @model_validator(mode="before")
    @classmethod
    def _format_alone(cls, value: object) -> object:
        return {"format": value} if isinstance(value, str) else value


class DataConfig(OwnTable):
    """Which images to train on and which to hold out."""

    table: ConfigPath | Annotated[list[ConfigPath | DataSource], Field(min_length=1)] = Field(
        description="folds.csv, another table, or a folder of images or tables; or a list of these, each a path or "
        "{table: …, root: …, name: …}"
    )
    root: ConfigPath | None = Field(
        None, description="folder that the table's file names are relative to; null: the table's own"
    )
    labels: Literal["apart", "merged"] = Field(
        "apart",
        description="for a list of tables. apart: classes are named NAME:LABEL; merged: equal labels are one class",
    )
    unknown_label: str | None = Field(
        None,
        description="label of images of unknown identity, such as new_whale: not trained on, distractors in the "
        "validation; null: as the table says; '': none",
    )
    fold: int | None = Field(
        0, ge=0, description="the fold held out for validation; null: train on all images, without validation"
    )
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes that decode images, at most 4 for each core; auto: 0 on a CPU, where they would compete "
        "with training",
    )
    cache: CacheConfig | None = Field(
        None, description="null: decode the files in every epoch; or raw, jpeg, {format: raw, …}, see docs/images.md"
    )

    @model_validator(mode="after")
    def _one_root_each(self) -> Self:
        if self.root is not None and isinstance(self.table, list):
            raise ValueError("root is for a single table; write the entries of a list as {table: …, root: …}")
        if self.columns != AS_NAMED and isinstance(self.table, list):
            name = next(iter(self.columns.parameters))
            raise ValueError(f"{name} is for a single table; write the entries of a list as {{table: …, {name}: …}}")
        return self


class ImageConfig(Strict):
    """The image that the network sees; null: as the backbone's weights were trained."""

    size: ImageSize | None = Field(
        None, description="(pixels) side of a square, or [height, width], such as [256, 128] for persons"
    )
    fit: Literal["squash", "crop", "pad"] = Field(
        "squash",
        description="squash: aspect ratio lost, nothing cut off; crop: the middle part, with the aspect ratio of size; "
        "pad: grey borders",
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = Field(None, description="antialiased resampling")
    resize: Resize = Field("torch", description="whose code resizes; torch is faster, pillow as in eml 0.1.0")
    mean: tuple[Mean, Mean, Mean] | None = Field(None, description="RGB mean in [0, 1]")
    std: tuple[Deviation, Deviation, Deviation] | None = Field(None, description="RGB standard deviation in [0, 1]")
    background: Background = Field(
        "contrast",
        description="what transparency is put on. contrast: black or white, whichever differs more from what is shown",
    )


class LearningRates(Strict):
    """Peak learning rates; parts that start at random need larger ones."""

    backbone: float = Field(1e-4, ge=0, description="rate of the backbone; 0 freezes it")
    neck: float = Field(1e-3, ge=0, description="rate of the neck")
    class_weights: float = Field(1e-2, ge=0, description="rate of the class weights, which start at random")
    text: float | None = Field(
        None,
        ge=0,
        description="rate of the text tower and its logit scale, with loss contrastive_text alone; 0 freezes both; "
        "null: that of the backbone, or 0 where `tune` is not full",
    )
    candidates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (),
        description="rates of the backbone to try before the run, a few steps each; it trains with the one that finds "
        "held-out images best, and with a rate of the neck in the same ratio",
    )


class OptimizerConfig(Strict):
    """One optimizer for all parts."""

    name: str = Field("adamw", description="one of timm's optimizers, see timm.optim.list_optimizers()")
    lr: LearningRates = LearningRates()
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate of a backbone stage relative to that of the next, deeper stage"
    )
    weight_decay: float = Field(0.05, ge=0, description="weight decay of backbone and neck, but for biases and norms")
    start_decay: float = Field(
        0.0,
        ge=0,
        description="decay of the weights of backbone and text tower towards those that training starts from, in "
        "place of weight_decay (L2-SP, arXiv:1802.01483); 0: off; 100 is strong",
    )
    class_weight_decay: float = Field(
        0.0, ge=0, description="weight decay of the class weights, whose length a margin ignores"
    )
    clip: float | None = Field(
        None, gt=0, description="largest norm of the whole gradient, class weights included; null: not clipped"
    )


class ScheduleConfig(Strict):
    """Learning-rate factor per step: linear warm-up from 0, then down to `final`."""

    shape: Literal["cosine", "linear", "steps", "constant"] = Field(
        "cosine",
        description="after the warm-up; steps: times `step_factor` at each of `step_at`; constant: 1 to the end",
    )
    warmup_epochs: float = Field(0.5, ge=0, description="length of the warm-up (epochs)")
    final: float = Field(
        0.0, ge=0, le=1, description="factor that cosine and linear approach; reached one step after the last"
    )
    step_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.75), description="for steps: shares of the training after which the rate falls"
    )
    step_factor: float = Field(0.1, gt=0, lt=1, description="for steps: factor that the rate is multiplied by")


class ValidationConfig(Strict):
    """Retrieval on the held-out fold and on other tables, before the first epoch and after epochs."""

    metric: str = Field(
        "map_at_r",
        description="metric that chooses the best checkpoint, higher is better: a name from metrics.json (recall_at_1) "
        "or from tables (R@1); NAME/map_at_r: that of one of `tables`; with loss contrastive_text also zero_shot_top_1 "
        "and text_to_image_recall_at_1",
    )
    images: Annotated[int, Field(ge=2)] | Literal["auto"] | None = Field(
        "auto",
        description="most images that are measured after an epoch, drawn once, to choose the best epoch; before "
        "training and of the best epoch all are. auto: an eighth of those trained on in an epoch, at least 100; "
        "null: all",
    )
    every: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="epochs between validations; the last epoch is always validated. auto: 1, in long runs on few "
        "images up to a tenth of the epochs, so that validation costs a tenth of the run",
    )
    batch_size: int = Field(64, ge=1, description="images per batch")
    tables: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")], ConfigPath] = Field(
        {}, description="name → table of other images to validate on, with is_query and is_gallery or leave-one-out"
    )
    leave_out_same: str | None = Field(
        None, description="a column, such as camera: gallery images with the query's class and value do not count"
    )
    within: str | None = Field(
        None, description="a column, such as category: a query is compared only with gallery images of its own value"
    )
    distractors: int = Field(
        0,
        ge=0,
        description="training images that are also in the gallery, never as queries, where whole classes are held out: "
        "as many as the gallery in use has, since more images are harder to tell apart",
    )
    keep: int = Field(1, ge=1, description="number of best checkpoints to keep, besides the last one")
    patience: int | None = Field(
        None, ge=1, description="end training after this many validations without a new best; null: never"
    )


class EmaConfig(Strict):
    """A running mean of the network's weights, validated and saved in their place. Polyak 1992; arXiv:2411.18704."""

    decay: float = Field(0.999, gt=0, lt=1, description="weight of the previous mean, per step")
    warmup: bool = Field(
        True, description="a shorter memory in the first steps, 1−(1+step)^(−2/3) up to `decay`, which forgets the "
        "start"
    )  # fmt: skip


class SavingConfig(Strict):
    """When the state is saved, besides the ends of epochs and on Ctrl-C or SIGTERM."""

    minutes: float | None = Field(
        10.0, gt=0, description="longest time between saves (minutes); null: do not save by time"
    )
    steps: int | None = Field(None, ge=1, description="steps between saves; null: do not save by steps")


class RunConfig(Strict):
    """All settings of a training run."""

    moved_keys: ClassVar[Mapping[str, str]] = {"class_weights": "head.init"}

    output: ConfigPath = Field(description="run folder to create")
    plugins: PluginNames = Field(
        (),
        description="files (my_margin.py) and modules of installed packages (package.module) to import first, with "
        "margins, losses, necks, samplers, metrics, backbones and so on of your own, see docs/plugins.md",
    )
    recipe: Literal["auto", "none"] = Field(
        "auto",
        description="auto: rates, freezing, neck, margin, scale, sizes and length follow from the data where this file "
        "does not set them, and are printed; none: the defaults written here",
    )
    task: Task = Field(
        USUAL,
        description="open: answers about classes that may be new, so that whole classes are held out for validation "
        "when there are enough; closed: all classes are known, so that images of each are held out",
    )
    stages: Literal["auto", "none"] = Field(
        "none",
        description="auto: measure on held-out classes what each stage brings (untouched network, closed form, "
        "fine-tuning, whitening and mirror image after it), and give the best; none: give the best epoch. "
        "recipe: auto sets auto",
    )
    test_views: tuple[Literal["flip", "crops"] | Annotated[int, Field(ge=8, le=4096)], ...] = Field(
        ("flip",),
        description="with stages: ways to embed that are tried in the end, each at each size: flip, the mean with the "
        "mirror image; crops, the mean of five crops; numbers, the longer side that images are resized to (pixels) "
        "with the aspect ratio of image.size, such as a larger one than in training",
    )
    refit: bool | Literal["auto"] = Field(
        "auto",
        description="with stages: train on the held-out classes too in the end, by what was chosen; auto: where whole "
        "classes were held out and a stage is better than the untouched network",
    )
    data: DataConfig
    class_texts: ClassTexts | None = Field(
        None,
        description="texts of the classes, for what trains with texts, see docs/text.md; null: the labels, embedded by "
        "the network's own text tower",
    )
    image: ImageConfig = ImageConfig()
    augment: Augment = Standard()
    sampler: Sampler = Shuffle()
    mix: Mix | None = Field(
        None,
        description="mix each image of a batch, and its label, with another: mixup, cutmix, mixup_or_cutmix; null: off",
    )
    model: ModelConfig = ModelConfig()
    tune: Tune = Field(
        Full(),
        description="which of the backbone's weights are trained, see docs/training.md: full, lora, norm, bitfit; neck "
        "and class weights are trained in each case",
    )
    margin: Margin = ArcFace()
    head: HeadConfig = HeadConfig()
    loss: Loss = CrossEntropy()
    text: TextTerm | None = Field(
        None,
        description="a term of the loss from class_texts, see docs/text.md: anchor, language_guidance; null: none",
    )
    distill: DistillConfig | None = Field(
        None,
        description="learn from the embeddings of another model too, such as {teacher: runs/large}, see "
        "docs/distill.md; null: off",
    )
    compatible_with: CompatibleConfig | None = Field(
        None,
        description="older run or checkpoint whose gallery the network's queries shall fit, so that its index goes on "
        "being used, see docs/upgrade.md; or {model: …, influence: …}; null: off",
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    epochs: int = Field(10, ge=1, description="passes over the training images; the sampler decides how long one is")
    minutes: float | None = Field(
        None,
        gt=0,
        description="time for the whole run (minutes): `epochs` is planned at its start from the measured time of a "
        "step, and kept when it is resumed; null: as `epochs` says",
    )
    batch_size: int = Field(64, ge=2, description="images per step")
    accumulate: int = Field(
        1,
        ge=1,
        description="parts in which a batch goes through the network, to save memory: the step equals that of the "
        "whole batch for every margin, at the cost of a second forward pass; only the backbone's BatchNorm layers see "
        "the parts",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="precision of the network's products (autocast); auto: bfloat16 on a GPU that supports it, else "
        "float32; the class head has its own, see head.product",
    )
    shard_network: bool = Field(
        False,
        description="each of several processes holds a part of the network's weights, gradients and optimizer state, "
        "for networks that do not fit on one device; slower, with the same result (docs/several_devices.md)",
    )
    compile: bool = Field(
        False, description="compile the network with torch.compile: takes minutes to start, then runs faster on a GPU"
    )
    ema: EmaConfig | None = Field(None, description="a running mean of the weights, validated and saved in their place")
    validation: ValidationConfig = ValidationConfig()
    saving: SavingConfig = SavingConfig()
    trackers: tuple[Tracker, ...] = Field(
        (), description="trackers that get the run's numbers besides its folder, such as [{type: tensorboard}]"
    )
    seed: int = Field(28, ge=0, lt=2**63, description="seed of the weights, the order and the augmentation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; auto: the first device found")
    cuda: CudaConfig = CudaConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_texts(cls, value: object) -> object:
        """Set what comparing images with texts needs where nothing is set: no margin, and no neck."""
        if not isinstance(value, dict) or not _compares_texts(value.get("loss")):
            return value
        model = value.get("model", {})
        if isinstance(model, dict):
            model = {"neck": {"type": "identity"}, **model}
        return {"margin": {"type": "normface"}, **value, "model": model}

    @model_validator(mode="after")
    def _batches_the_sampler_can_fill(self) -> Self:
        self.sampler.check_batch_size(self.batch_size)
        return self

    @model_validator(mode="after")
    def _tunes_with_a_rate(self) -> Self:
        if self.tune.type != "full" and self.optimizer.lr.backbone == 0:
            raise ValueError(f"tune: {self.tune.type} trains nothing, since optimizer.lr.backbone is 0")
        return self

    @model_validator(mode="after")
    def _compares_whole_images(self) -> Self:
        if self.mix is not None and self.distill is not None and self.distill.compares_pairs:
            terms = " and ".join(f"distill.{name}" for name in self.distill.terms if name != "cosine")
            raise ValueError(
                f"mix: {self.mix.type} makes each image one of two, and {terms} compares the teacher's embeddings of "
                "whole ones; set mix: null, or these to 0 and distill.cosine alone, whose targets are mixed like labels"
            )
        return self

    @property
    def text_keys(self) -> list[str]:
        """The keys that use the text vectors of class_texts at the start of a run."""
        return [*(["head.init"] if self.head.init.type == "text" else []), *(["text"] if self.text else [])]

    @property
    def text_rate(self) -> float:
        """The peak rate of the text tower and its logit scale; 0: they are not trained."""
        rates = self.optimizer.lr
        if not self.loss.compares_texts:
            return 0.0
        if rates.text is not None:
            return rates.text
        return rates.backbone if self.tune.type == "full" else 0.0


def _compares_texts(loss: object) -> bool:
    """Return whether a loss, or the section of one, compares images with texts."""
    if isinstance(loss, Loss):
        return loss.compares_texts
    member = Loss.members().get(str(loss.get("type"))) if isinstance(loss, dict) else None
    return member is not None and member.compares_texts


def example() -> str:
    """Return a config with every key at its default under a comment, as in configs/example_config.yaml."""
    head = "# Every key of a training config, at its default; only output and data.table must be given.\n\n"
    return head + document(RunConfig, {"output": "run", "data": {"table": "photos/folds.csv"}})
