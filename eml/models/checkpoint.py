"""A checkpoint: a self-describing folder with weights, architecture, preprocessing, labels, metrics. No pickle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from eml.config import Strict
from eml.dataset.sidecar import unknown_label_in
from eml.errors import CheckpointError, ConfigError, EmlError
from eml.files import whole_folder, write_json
from eml.images.image_size import Size, size_text
from eml.images.preprocess import Preprocess
from eml.json_files import MOST_BYTES, MOST_BYTES_OF_LISTS, read_json
from eml.models.adapters import plain_weights
from eml.models.backbones import find_family, without_memory
from eml.models.compatible import CompatibleModel
from eml.models.compression import Compression, CompressionFacts, read_compression
from eml.models.config import Inference, ModelConfig, StoredModel, Tta
from eml.models.definitions import stored_model
from eml.models.embedder import Embedder, build_embedder
from eml.models.ensemble import MemberFacts, join_networks
from eml.models.hub_folder import checkpoint_bytes, checkpoint_tensors
from eml.models.needed_plugins import NeededPlugin, changed_notes, needed_plugins, refuse_unknown
from eml.models.pointers import find_checkpoint, fold_runs
from eml.models.text_tower import TOKENIZER
from eml.models.trained_on import RecordFacts, TrainedOn, check_labels, read_record, record_facts, write_record
from eml.models.weights import at_own_size, refuse_not_finite
from eml.versions import eml_version

FORMAT = 2
"""eml 0.1.0 wrote 1, and reports a higher one as written by a newer eml."""
COMPRESSED_FORMAT = 3
"""Checkpoints with a compression have it, so that an eml that does not know compression refuses them."""
INFERENCE_FORMAT = 4
"""Checkpoints that say how they embed have it, so that an eml that would embed otherwise refuses them."""
ENSEMBLE_FORMAT = 5
"""Checkpoints of several networks have it."""
SHAPE_FORMAT = 6
"""Checkpoints whose images are no squares have it."""
DEFINITION_FORMAT = 7
"""Checkpoints that say themselves what a backbone is built from have it."""
COMPATIBLE_FORMAT = 8
"""Checkpoints that declare the older models whose galleries serve their queries have it."""
PLUGIN_FORMAT = 9
"""Checkpoints whose network needs plugins have it."""
NEWEST_FORMAT = PLUGIN_FORMAT


class CheckpointConfig(Strict):
    """config.json: everything needed to embed an image as in training.

    Attributes:
        trained_on: Of the record of what the network was trained on; None, as in checkpoints of eml 0.1.0: that is
            unknown.
        compression: What is done to the embeddings after the network; None: nothing.
        inference: How it embeds unless it is told otherwise; None: an image alone, at the size of training.
        members: The networks of an ensemble, whose embeddings stand beside each other; `model` is that of the first.
        compatible_with: Older models whose galleries its queries were measured on, and found no worse.
        plugins: Without which the network cannot be built; they are named here, and never imported because of it.
    """

    format: int = FORMAT
    eml_version: str
    model: StoredModel
    preprocess: Preprocess
    embedding_size: int
    normalised: bool = True
    trained_on: RecordFacts | None = None
    unknown_label: str | None = None
    """The label of images of unknown identity, which it was not trained on."""
    compression: CompressionFacts | None = None
    inference: Inference | None = None
    members: tuple[MemberFacts, ...] = ()
    compatible_with: tuple[CompatibleModel, ...] = ()
    plugins: tuple[NeededPlugin, ...] = ()

    @property
    def size(self) -> int:
        """The size of the embeddings at the very end."""
        return self.embedding_size if self.compression is None else self.compression.size

    @property
    def networks(self) -> list[StoredModel]:
        """Return the configs that its networks are built from."""
        return [member.model for member in self.members] or [self.model]

    @property
    def own_tta(self) -> Tta:
        """The test-time augmentation that the checkpoint is meant for."""
        return "none" if self.inference is None else self.inference.tta

    @property
    def own_preprocess(self) -> Preprocess:
        """The preprocessing of images to embed: that of training, at the size at which the checkpoint embeds."""
        size = None if self.inference is None else self.inference.size
        return self.preprocess if size is None else self.preprocess.model_copy(update={"size": size})

    @model_validator(mode="before")
    @classmethod
    def _as_before_it_was_recorded(cls, data: Any) -> Any:
        """Put transparency on white and resize by Pillow where the file does not say, as eml 0.1.0 did."""
        preprocess = data.get("preprocess") if isinstance(data, dict) else None
        if not isinstance(preprocess, dict):
            return data
        return data | {"preprocess": {"background": "white", "resize": "pillow"} | preprocess}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: the network in eval mode on the CPU, and the files beside it."""

    folder: Path
    embedder: Embedder
    config: CheckpointConfig
    labels: list[str]
    metrics: dict[str, Any]
    compression: Compression | None = None


def save_checkpoint(
    folder: Path,
    embedder: Embedder,
    model: ModelConfig,
    preprocess: Preprocess,
    labels: Sequence[str],
    metrics: dict[str, Any],
    *,
    weights: dict[str, Tensor] | None = None,
    trained_on: TrainedOn | None = None,
    unknown_label: str | None = None,
    compression: Compression | None = None,
    inference: Inference | None = None,
    members: Sequence[MemberFacts] = (),
) -> None:
    """Write a checkpoint folder, whole or not at all. Adapters are merged into the weights.

    Args:
        folder: Where to write. An existing folder is replaced.
        embedder: The network.
        model: The config that it was built from.
        preprocess: The preprocessing of its images.
        labels: The classes that it was trained on.
        metrics: Their values at this point of the run.
        weights: The embedder's whole weights, if it holds only parts of them itself.
        trained_on: The images and classes that it was trained on; None: unknown.
        unknown_label: The label of images of unknown identity, which it was not trained on.
        compression: What is done to the embeddings after the network.
        inference: How it embeds unless it is told otherwise; None, and what is usual: an image alone, at its size.
        members: The networks of an ensemble.
    """
    inference = None if inference == Inference() else inference
    own = _stored(model, embedder)
    plugins = needed_plugins([member.model for member in members] or [own])
    config = CheckpointConfig(
        format=PLUGIN_FORMAT if plugins else _format_of(own, preprocess, compression, inference, members),
        eml_version=eml_version(),
        model=own,
        preprocess=preprocess,
        embedding_size=embedder.size,
        trained_on=None if trained_on is None else record_facts(trained_on, labels),
        unknown_label=unknown_label,
        compression=None if compression is None else compression.facts,
        inference=inference,
        members=tuple(_without_weights(member) for member in members),
        plugins=plugins,
    )
    with whole_folder(folder) as temporary:
        tensors = plain_weights(embedder, embedder.state_dict() if weights is None else weights)
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        (temporary / "model.safetensors").write_bytes(save(stored))
        if trained_on is not None:
            write_record(temporary, trained_on, labels)
        if compression is not None:
            compression.write(temporary)
        if embedder.text is not None:
            embedder.text.save_tokenizer(temporary / TOKENIZER)
        _write_config(temporary, config)
        write_json(temporary / "labels.json", list(labels))
        write_json(temporary / "metrics.json", metrics)


def declare_compatible(path: Path, model: CompatibleModel) -> None:
    """Write into a checkpoint that its queries may be compared with the gallery of an older model.

    Args:
        path: The checkpoint folder. A declaration about the same model is replaced.
        model: The older model, with what was measured.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ValueError: The measurement says that it is worse.
    """
    if not model.is_compatible:
        raise ValueError(f"{model.name}: MAP@R {model.crossed} on its gallery is below its own, {model.old}")
    folder = find_checkpoint(path)
    config = _read_config(folder / "config.json")
    earlier = [entry for entry in config.compatible_with if entry.fingerprint != model.fingerprint]
    update = {"compatible_with": (*earlier, model), "format": max(config.format, COMPATIBLE_FORMAT)}
    _write_config(folder, config.model_copy(update=update))


def read_compatible(path: Path) -> tuple[CompatibleModel, ...]:
    """Return the older models that a checkpoint, or the best one of a run folder, declares itself compatible with.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    return read_checkpoint_config(path).compatible_with


def _write_config(folder: Path, config: CheckpointConfig) -> None:
    """Write config.json without the keys that say nothing, so that an eml that does not know them reads the rest."""
    optional = ("compression", "inference", "members", "compatible_with", "plugins")
    without = {name for name in optional if not getattr(config, name)}
    write_json(folder / "config.json", config.model_dump(mode="json", exclude=without))


def _without_weights(member: MemberFacts) -> MemberFacts:
    return member.model_copy(update={"model": member.model.model_copy(update={"weights": "none"})})


def _stored(model: ModelConfig, embedder: Embedder) -> StoredModel:
    """Return the config from which a network's checkpoint is built: without weights, which the folder holds."""
    model = model.model_copy(update={"weights": "none"})
    backbone = embedder.architecture.get("backbone", model.backbone)
    return stored_model(model, backbone, embedder.architecture.get("definition"))


def _format_of(
    model: StoredModel,
    preprocess: Preprocess,
    compression: Compression | None,
    inference: Inference | None,
    members: Sequence[MemberFacts],
) -> int:
    """Return the lowest format by which all who can read a checkpoint embed as it says."""
    if any(own.definition is not None for own in (model, *(member.model for member in members))):
        return DEFINITION_FORMAT
    if not all(isinstance(size, int) for size in (preprocess.size, inference.size if inference else None) if size):
        return SHAPE_FORMAT
    if members:
        return ENSEMBLE_FORMAT
    if inference is not None:
        return INFERENCE_FORMAT
    return FORMAT if compression is None else COMPRESSED_FORMAT


def load_checkpoint(path: Path, *, image_size: Size | None = None) -> Checkpoint:
    """Read a checkpoint folder, or the best one of a run folder.

    Args:
        path: The folder.
        image_size: Side of the images to embed (pixels) or (height, width); None: as the checkpoint says. Its config
            then has this one.

    Raises:
        CheckpointError: A file is missing, damaged or written by a newer eml.
        ConfigError: The network takes no images of this size.
    """
    folder = find_checkpoint(path)
    config = _read_config(folder / "config.json")
    if image_size is not None:
        inference = (config.inference or Inference()).model_copy(update={"size": image_size})
        config = config.model_copy(update={"inference": inference})
    labels, metrics = read_labels(folder, config), _read_json(folder / "metrics.json", dict[str, Any])
    file = folder / "model.safetensors"
    _refuse_small(file, config)
    embedder = _build(config, folder / "config.json")
    resized = config.own_preprocess.size != config.preprocess.size
    try:
        tensors = checkpoint_tensors(folder)
        if resized:
            resample = find_family(config.model.backbone).resample
            tensors = at_own_size(tensors, embedder, resample, config.preprocess.size)
        embedder.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        if image_size is not None and resized:
            sizes = [size_text(size) for size in (image_size, config.preprocess.size)]
            text = f"`image_size` {sizes[0]}: the weights of {folder} are for {sizes[1]} pixels, and "
            text += f"timm cannot resample those of {config.model.backbone}"
            raise ConfigError(text, code="unsupported-by-backbone", parameter="image_size") from error
        problem = f"{file}: damaged or of another architecture: {str(error).splitlines()[0]}"
        raise CheckpointError(problem, code="damaged-file") from error
    refuse_not_finite(embedder, str(file))
    embedder.notes += changed_notes(config.plugins, config.networks)
    compression = None
    if config.compression is not None:
        if config.compression.network_size != embedder.size:
            text = f"{folder / 'config.json'}: compression.network_size is not the size of the network's embeddings"
            raise CheckpointError(text, code="damaged-file")
        compression = read_compression(folder, config.compression)
    return Checkpoint(folder, embedder.eval(), config, labels, metrics, compression)


def read_checkpoint_config(path: Path) -> CheckpointConfig:
    """Return the config of a checkpoint, or of the best one of a run folder, without its weights.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    return _read_config(find_checkpoint(path) / "config.json")


def _refuse_small(file: Path, config: CheckpointConfig) -> None:
    """Raise a CheckpointError for a file that cannot hold a network, before memory is taken for that."""
    networks = [without_memory(model, config.preprocess.size) for model in config.networks]
    weights = sum(weight.numel() for network in networks if network is not None for weight in network.parameters())
    if (size := checkpoint_bytes(file.parent)) < weights:
        names = " + ".join(model.backbone for model in config.networks)
        text = f"{file}: damaged or of another architecture: {names} has {weights:,} weights, and the "
        raise CheckpointError(f"{text}file {size:,} bytes", code="damaged-file")


def _build(config: CheckpointConfig, file: Path) -> Embedder:
    """Return the network of a config, without its weights."""
    without = {"weights": "none"}  # no file or hub elsewhere: the folder holds them all
    size = config.own_preprocess.size
    try:
        networks = [build_embedder(model.model_copy(update=without), size) for model in config.networks]
    except EmlError:
        raise
    except Exception as error:  # of any type, by what is wrong in a definition
        if all(model.definition is None for model in config.networks):
            raise
        problem = f"{file}: model.definition: nothing can be built from it: {type(error).__name__}: {error}"
        raise CheckpointError(problem, code="damaged-file") from error
    embedder = _joined(networks, config, file) if config.members else networks[0]
    if embedder.size != config.embedding_size:
        problem = f"{file}: embedding_size is {config.embedding_size:,}, and the network in it has {embedder.size:,}"
        raise CheckpointError(problem, code="damaged-file")
    return embedder


def _joined(networks: Sequence[Embedder], config: CheckpointConfig, file: Path) -> Embedder:
    """Return the network of an ensemble."""
    sizes = [member.embedding_size for member in config.members]
    if [network.size for network in networks] != sizes:
        text = f"{file}: the embedding_size of a member is not that of its network"
        raise CheckpointError(text, code="damaged-file")
    try:
        return join_networks(networks, config.members)
    except ConfigError as error:
        raise CheckpointError(f"{file}: members: {error.problems[0]}", code="damaged-file") from error


def read_trained_on(path: Path) -> TrainedOn:
    """Return what a checkpoint, or the best one of a run folder, was trained on.

    Raises:
        CheckpointError: There is no checkpoint, or a file is missing or damaged.
    """
    folder = find_checkpoint(path)
    config = _read_config(folder / "config.json")
    return read_record(folder, config.trained_on, read_labels(folder, config))


def recorded_unknown_label(path: Path) -> str | None:
    """Return the unknown label of a checkpoint, or of the best one of a run folder; None without one.

    Raises:
        CheckpointError: There is no checkpoint, or its config.json cannot be read.
    """
    runs = fold_runs(path)  # of one table
    return unknown_label_in(_read_json(find_checkpoint(runs[0] if runs else path) / "config.json"))


def _read_config(file: Path) -> CheckpointConfig:
    data = _read_json(file)
    if isinstance(data, dict) and isinstance(data.get("format"), int | float) and data["format"] > NEWEST_FORMAT:
        raise CheckpointError(
            f"{file}: written by a newer eml ({data.get('eml_version')}); upgrade eml to read it", code="newer-eml"
        )
    refuse_unknown(file, data.get("plugins") if isinstance(data, dict) else None)
    try:
        config = CheckpointConfig.model_validate(data)
        return config.model_copy(update={"model": config.model.model_copy(update={"folder": file.parent})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        problem = f"{file}: not a checkpoint's config.json ({key}: {first['msg']})"
        raise CheckpointError(problem, code="damaged-file") from error


def read_labels(folder: Path, config: CheckpointConfig) -> list[str]:
    """Return the classes that the checkpoint in a folder with this config was trained on.

    Raises:
        CheckpointError: The file is missing, damaged or not of this checkpoint.
    """
    file = folder / "labels.json"
    labels: list[str] = _read_json(file, list[str], MOST_BYTES_OF_LISTS)
    check_labels(file, labels, config.trained_on)
    return labels


def _read_json(file: Path, kind: Any = Any, most_bytes: int = MOST_BYTES) -> Any:
    try:
        return read_json(file, kind, most_bytes)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}", code="damaged-file") from error
