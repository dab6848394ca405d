"""Write a model as a folder that timm, sentence-transformers, transformers and eml load."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eml.exporting.hub.backbone import TimmBackbone
from eml.exporting.hub.layers import DenseLayer, Layer
from eml.exporting.hub.parts import TimmParts, left_out, parts_of, write_tensors
from eml.exporting.hub.seal import seal
from eml.exporting.hub.transform import timm_settings
from eml.files import write_json
from eml.inference.model import Model
from eml.json_files import read_json
from eml.models.adapters import plain_weights
from eml.models.calibration import calibration_path
from eml.models.checkpoint import read_checkpoint_config, read_labels, recorded_unknown_label, save_checkpoint
from eml.models.compression import Compression
from eml.models.config import Inference, StoredModel
from eml.models.hub_folder import CHECKPOINT, FACTS, WEIGHTS, HubFacts, checkpoint_digest
from eml.models.trained_on import TrainedOn
from eml.versions import eml_version

_MODULE = "sentence_transformers.base.modules.{}.{}"


def write_hub_folder(model: Model, folder: Path, parts: TimmParts | None = None) -> HubFacts:
    """Write a model into a new folder: the network for timm and transformers, its layers for sentence-transformers.

    A checkpoint is in it too, by which `eml.load` of the folder gives the same model to the bit. No path of this
    computer is in any file.

    Args:
        model: A model of one network.
        folder: Where to write; it need not exist.
        parts: Of the model, if they are there already.

    Returns:
        What the folder holds.

    Raises:
        ConfigError: timm has no such network, or its neck is not made of linear layers.
    """
    parts = parts or parts_of(model)
    backbone = parts.backbone
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, backbone.tensors | parts.head)
    write_json(folder / "config.json", _timm_config(backbone, parts.classes, model))
    _write_modules(folder, parts.layers)
    _write_checkpoint(folder / CHECKPOINT, model, backbone)
    facts = HubFacts(
        eml_version=eml_version(),
        prefix=backbone.prefix,
        renamed=backbone.renamed,
        shapes=backbone.own_shapes,
        head=sorted(parts.head),
        left_out=left_out(model),
    )
    write_json(folder / CHECKPOINT / FACTS, facts.model_dump(mode="json"))
    _write_calibration(folder / CHECKPOINT, model)
    return seal(folder)


def _timm_config(backbone: TimmBackbone, classes: int, model: Model) -> dict[str, Any]:
    """Return timm's config.json, which transformers reads too."""
    import timm

    usual = timm.get_pretrained_cfg(backbone.architecture)
    known = {} if usual is None else {name: getattr(usual, name) for name in ("first_conv", "classifier")}
    return {
        "architecture": backbone.architecture,
        "num_classes": classes,  # never among model_args, which transformers 5 passes beside a num_classes of its own
        "num_features": backbone.features,
        "model_args": backbone.model_args,
        "pretrained_cfg": timm_settings(model.preprocess)
        | {"custom_load": False, "fixed_input_size": "img_size" in backbone.model_args, "pool_size": None}
        | {"num_classes": classes}
        | {name: value for name, value in known.items() if value is not None},
    }


def _write_modules(folder: Path, layers: Sequence[Layer]) -> None:
    """Write the files of sentence-transformers."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": _MODULE.format("transformer", "Transformer")}]
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    for number, layer in enumerate(layers, 1):
        kind = "Dense" if isinstance(layer, DenseLayer) else "Normalize"
        place = f"{number}_{kind}"
        modules.append({"idx": number, "name": str(number), "path": place, "type": _MODULE.format(kind.lower(), kind)})
        (folder / place).mkdir()
        settings: dict[str, Any] = {}
        if isinstance(layer, DenseLayer):
            activation = f"{layer.activation.__module__}.{layer.activation.__qualname__}"
            settings = {"in_features": layer.weight.shape[1], "out_features": layer.weight.shape[0], "bias": True}
            settings["activation_function"] = activation  # without it Dense applies a tanh
            write_tensors(folder / place / WEIGHTS, {"linear.weight": layer.weight, "linear.bias": layer.bias})
        write_json(folder / place / "config.json", settings | names)
    write_json(folder / "modules.json", modules)
    image = {"method": "forward", "method_output_name": "pooler_output"}  # by default it would pool tokens
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"image": image},
            "module_output_name": "sentence_embedding",
        },
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "similarity_fn_name": "cosine",
            "prompts": {},
            "default_prompt_name": None,
        },
    )


def _write_checkpoint(folder: Path, model: Model, backbone: TimmBackbone) -> None:
    """Write eml's checkpoint without the weights that timm's file has."""
    weights = plain_weights(model.embedder, model.embedder.state_dict())
    record = _without_paths(model.trained_on)
    labels, metrics, unknown_label = sorted(record.classes) if record else [], {}, None
    if model.folder is not None:
        labels = read_labels(model.folder, read_checkpoint_config(model.folder))
        metrics = _numbers(read_json(model.folder / "metrics.json", dict[str, Any]))
        unknown_label = recorded_unknown_label(model.folder)
    save_checkpoint(
        folder,
        model.embedder,
        StoredModel.model_validate(model.embedder.architecture),
        model.preprocess,
        labels,
        metrics,
        weights={name: tensor for name, tensor in weights.items() if name not in backbone.own_names},
        trained_on=None if record is None or (record.by_eml and record.images is None) else record,
        unknown_label=unknown_label,
        compression=_nameless(model.compression),
        inference=Inference(tta=model.tta),
    )


def _write_calibration(folder: Path, model: Model) -> None:
    """Write the calibration of a model, if it has one, beside the weights that it is of from now on."""
    if model.calibration is None:
        return
    table = model.calibration.table
    own = {
        "weights_digest": checkpoint_digest(folder),
        "images_digest": None,  # the images of the calibration set are left behind
        "table": None if table is None else Path(table).name,
    }
    write_json(calibration_path(folder), model.calibration.model_copy(update=own).to_json())


def _without_paths(record: TrainedOn | None) -> TrainedOn | None:
    if record is None:
        return None
    return replace(record, unrecorded=tuple(Path(name).name for name in record.unrecorded))


def _nameless(compression: Compression | None) -> Compression | None:
    """Return a compression that names the table it was learnt from by its file alone."""
    if compression is None or compression.facts.learnt_from is None:
        return compression
    facts = compression.facts.model_copy(update={"learnt_from": Path(compression.facts.learnt_from).name})
    return Compression(facts, compression.mean, compression.matrix)


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the numbers at the top of metrics.json, without commands and paths."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}
