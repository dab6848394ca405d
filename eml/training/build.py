"""The parts of a training run, built from its config and table."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import is_sharded, shard_network
from eml.head.class_head import ClassHead
from eml.head.compatibility import check_loss, check_mix, check_texts
from eml.head.shards import Shard
from eml.head.text_weights import TextWeights
from eml.images.augment import Augmenter
from eml.images.preprocess import Preprocess
from eml.images.samplers import Classes
from eml.inference.model import Model
from eml.models.config import EmbeddingPrecision
from eml.models.embedder import Embedder, build_embedder, default_preprocess, has_unsafe_group_norm
from eml.texts.vectors import TextVectors
from eml.threads import cores, most_workers
from eml.training.class_texts import training_texts
from eml.training.compatibility.old_model import old_model_of
from eml.training.compatibility.term import CompatibilityTerm
from eml.training.config import RunConfig
from eml.training.data import TrainingData, training_data
from eml.training.data_parallel import SummedGradients, broadcast_weights
from eml.training.distillation.distiller import Distiller
from eml.training.distillation.teacher import Teacher, load_teacher, recorded_teacher
from eml.training.gradient_cache import GradientCache, precision_of
from eml.training.nan_check import StepSnapshot
from eml.training.optimizer import build_optimizer
from eml.training.run_folder import RunFolder
from eml.training.start_decay import StartDecay
from eml.training.starting_point import earlier_record, network_to_build
from eml.training.text_validation import text_source
from eml.training.text_weights import build_text_weights
from eml.training.validation import RunLength, Validation, check_metric


@dataclass(frozen=True)
class Networks:
    """The trained modules, on the device.

    Attributes:
        embedder: Images → embeddings.
        preprocess: How images are prepared for it.
        head: Embeddings → loss.
        ema: The running mean of the embedder's weights; None without one.
    """

    embedder: Embedder
    preprocess: Preprocess
    head: ClassHead
    ema: ModelEmaV3 | None

    @property
    def evaluated(self) -> Embedder:
        """The network that is validated and saved: the running mean if there is one."""
        network: Embedder = self.ema.module if self.ema else self.embedder
        return network


@dataclass(frozen=True)
class RunParts:
    """Everything that a training run works with.

    Attributes:
        config: The run's config, with its recipe applied.
        table: The images' table.
        processes: This process's place among those that train together.
        device: Where the networks are.
        workers: Processes that decode images.
        data: Training and held-out images.
        classes: What the sampler draws from.
        validation: The sets that the run is validated on.
        augmenter: Of the training images.
        networks: The trained modules.
        optimizer: Of their parameters, but for class weights that are sampled.
        start_decay: Of the backbone towards the weights that training starts from.
        gradient_cache: Runs the embedder forward and backward, in the run's precision.
        scaler: Of the gradient; in effect with float16 only.
        snapshot: What a step that is not finite is undone by.
        model: Embeds the validation's images.
        labels: (N,) of the training images, on the CPU.
        steps_per_epoch: Optimizer steps in an epoch.
        distiller: Adds what a teacher says to the loss; None without one.
        compatibility: Adds what keeps the network compatible with an older model; None without one.
        text_notes: What to tell of the text vectors, a line each, once they are there.
    """

    config: RunConfig
    table: Table
    processes: Processes
    device: torch.device
    workers: int
    data: TrainingData
    classes: Classes
    validation: Validation
    augmenter: Augmenter
    networks: Networks
    optimizer: torch.optim.Optimizer
    start_decay: StartDecay
    gradient_cache: GradientCache
    scaler: torch.amp.GradScaler
    snapshot: StepSnapshot
    model: Model
    labels: Tensor
    steps_per_epoch: int
    distiller: Distiller | None = None
    compatibility: CompatibilityTerm | None = None
    text_notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run."""
        return self.config.epochs * self.steps_per_epoch

    @cached_property
    def table_digest(self) -> str | None:
        """The digest of the table as the run began with it: read once, since the file may change while it trains."""
        return self.table.digest

    @cached_property
    def class_texts(self) -> TextVectors:
        """The text vectors of the classes, where the config uses some; all processes ask for them."""
        network = self.networks.evaluated
        return self.processes.from_first(
            lambda: training_texts(
                self.config, self.table, self.data.classes, embedder=network, report=self.text_notes.append
            )
        )

    @property
    def embedder(self) -> Embedder:
        """The trained network."""
        return self.networks.embedder

    @property
    def head(self) -> ClassHead:
        """The class head."""
        return self.networks.head

    @property
    def preprocess(self) -> Preprocess:
        """How images are prepared for the network."""
        return self.networks.preprocess

    def set_training_mode(self) -> None:
        """Set the networks to training mode, but for a frozen backbone, whose BatchNorm statistics are frozen too."""
        self.embedder.train()
        if self.config.optimizer.lr.backbone == 0:
            self.embedder.backbone.eval()
        self.head.train()


def build_parts(
    config: RunConfig, table: Table, *, resume: bool = False, processes: Processes = SINGLE_PROCESS
) -> RunParts:
    """Build the parts of a run; nothing is written.

    Args:
        config: With its recipe applied.
        table: The images' table.
        resume: Leave out pretrained weights, since a saved state will be loaded.
        processes: All of them call this; they have met.

    Raises:
        EmlError: Config, table and machine do not fit together.
    """
    device = processes.device(config.device)
    check_metric(config)
    check_loss(config.margin, config.loss)
    check_texts(config.margin, config.head, config.mix, config.loss, config.text, neck=config.model.neck.type)
    check_mix(config.margin, config.head, config.mix, config.text)
    data = training_data(table, config.data.fold)
    classes = data.sampler_classes(config.sampler.category_column, table.name)
    config.sampler.check(classes, config.batch_size, table.name)
    earlier = earlier_record(config, resume=resume)
    teacher = build_teacher(config, device, resume=resume)
    old_model = old_model_of(config, device, resume=resume)
    for source in (teacher, old_model):
        earlier = earlier if source is None else source.after(earlier)
    steps = config.sampler.steps(classes, config.batch_size)
    length = RunLength(
        config.epochs, steps * config.batch_size, config.seed, config.shard_network and processes.world > 1
    )
    columns = config.data.columns
    validation = Validation(
        config.validation,
        table,
        data,
        earlier,
        columns=columns,
        length=length,
        accept_stale=resume,
        texts=text_source(config),
    )
    networks = build_networks(config, data, device, resume=resume, processes=processes)
    augmenter = config.augment.build(networks.preprocess)
    distiller = None
    if teacher is not None:
        size = networks.embedder.size
        distiller = Distiller(teacher, table, data, embedding_size=size, device=device, seed=config.seed)
    compatibility = None
    if old_model is not None and config.compatible_with is not None:
        compatibility = CompatibilityTerm(
            old_model,
            config.compatible_with,
            table,
            data,
            embedding_size=networks.embedder.size,
            backbone=config.model.backbone,
            device=device,
            shard=networks.head.shard,
        )
    optimizer = build_optimizer(
        config.optimizer,
        networks.embedder,
        networks.head,
        text_rate=config.text_rate,
        teacher_map=None if distiller is None else distiller.map,
    )
    gradient_cache = build_gradient_cache(config, networks.embedder, device, processes)
    parts = RunParts(
        config=config,
        table=table,
        processes=processes,
        device=device,
        workers=worker_count(config, device, processes.local_world),
        data=data,
        classes=classes,
        validation=validation,
        augmenter=augmenter,
        networks=networks,
        optimizer=optimizer,
        start_decay=StartDecay(optimizer, config.optimizer.start_decay),
        gradient_cache=gradient_cache,
        scaler=torch.amp.GradScaler(device.type, enabled=gradient_cache.precision is torch.float16),
        snapshot=StepSnapshot(networks.embedder, networks.head, device),
        model=_validated_model(networks, gradient_cache),
        labels=torch.from_numpy(data.labels),
        steps_per_epoch=steps,
        distiller=distiller,
        compatibility=compatibility,
    )
    if config.text_keys and not resume:  # a state has what the run makes of them
        _ = parts.class_texts
    return parts


def build_teacher(config: RunConfig, device: torch.device, *, resume: bool) -> Teacher | None:
    """Return the teacher of a run, loaded unless the folder of a run that goes on says what it was; None without one.

    Raises:
        EmlError: It cannot be loaded.
    """
    if config.distill is None:
        return None
    recorded = recorded_teacher(config.distill, RunFolder(config.output).facts()) if resume else None
    return recorded or load_teacher(config.distill, device)


def build_networks(
    config: RunConfig,
    data: TrainingData,
    device: torch.device,
    *,
    resume: bool = False,
    processes: Processes = SINGLE_PROCESS,
) -> Networks:
    """Build the embedder, the class head and the running mean.

    Their weights are drawn here, and only here, from the config's seed: the embedder's first, then the class head's.
    After that each process draws from a seed of its own.

    Args:
        config: The run's config.
        data: Says how many images each class has.
        device: Where the networks are moved.
        resume: Leave out pretrained weights, since a saved state will be loaded.
        processes: All of them call this.
    """
    torch.manual_seed(config.seed)
    model = network_to_build(config, resume=resume)
    embedder = build_embedder(model, config.image.size)
    config.tune.apply(embedder.backbone, model.backbone)
    if config.tune.type != "full" and has_unsafe_group_norm(embedder.backbone):
        embedder.memory_format = torch.contiguous_format
        embedder.to(memory_format=torch.contiguous_format)
    texts = build_text_weights(config, data, embedder, device)
    head = build_head(config, data, embedder.size, processes, texts)
    processes.reseed(config.seed, 0)

    preprocess = default_preprocess(embedder, **dict(config.image))
    is_divided = config.shard_network and processes.world > 1
    if not is_divided:
        embedder.to(device)
    broadcast_weights(embedder, processes)
    ema = None
    if config.ema is not None:  # before the network is sharded, after which it cannot be copied
        ema = ModelEmaV3(embedder, config.ema.decay, use_warmup=config.ema.warmup, foreach=not is_divided)
    if is_divided:
        for network in (embedder, *([ema.module] if ema else [])):
            shard_network(network, processes, device, size=preprocess.size)
    return Networks(embedder, preprocess, head.to(device), ema)


def _validated_model(networks: Networks, gradient_cache: GradientCache) -> Model:
    """Return the model that validations embed with: in bfloat16 where the training is."""
    precision: EmbeddingPrecision = "bfloat16" if gradient_cache.precision is torch.bfloat16 else "float32"
    network = networks.evaluated
    splits = not is_sharded(network)
    return Model(network, networks.preprocess, gradient_cache.device, precision=precision, splits_batches=splits)


def build_head(
    config: RunConfig,
    data: TrainingData,
    embedding_size: int,
    processes: Processes,
    texts: TextWeights | None = None,
) -> ClassHead:
    """Build the class head, of which each process holds a part of the classes. texts: in place of class weights."""
    counts = np.bincount(data.labels, minlength=len(data.classes)).tolist()
    shard = Shard.of_group(len(counts)) if processes.world > 1 else None
    return ClassHead(
        config.margin,
        len(counts),
        embedding_size,
        config.head,
        counts=counts,
        shard=shard,
        text=config.text,
        texts=texts,
    )


def build_gradient_cache(
    config: RunConfig, embedder: Embedder, device: torch.device, processes: Processes
) -> GradientCache:
    """Build the forward and backward pass of the embedder, compiled if the config says so."""
    if config.compile:
        embedder.compile()
        embedder.backbone.compile()  # which runs by itself where a batch is taken in parts
    gradients = SummedGradients(embedder) if processes.world > 1 else None
    return GradientCache(embedder, device, precision_of(config.precision, device), config.accumulate, gradients)


def worker_count(config: RunConfig, device: torch.device, local_processes: int) -> int:
    """Return how many processes decode images; `auto` divides the machine's cores among the run's processes."""
    if config.data.workers != "auto":
        return min(config.data.workers, max(1, most_workers() // local_processes))
    return 0 if device.type == "cpu" else max(1, min(8, cores() // local_processes))
