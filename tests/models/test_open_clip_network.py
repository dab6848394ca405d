"""Networks of open_clip as backbones, with their text towers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from eml.errors import CheckpointError, ConfigError
from eml.head.class_head import ClassHead
from eml.inference.ensemble import save_model
from eml.inference.load import load
from eml.margins.arcface import ArcFace
from eml.models.backbones import preprocess_of, without_memory
from eml.models.checkpoint import NEWEST_FORMAT, load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.models.image_sizes import nearest_size
from eml.models.necks.identity import Identity
from eml.models.tuning.lora import LoRA
from eml.models.weights_digest import fingerprint_of
from eml.training.config import OptimizerConfig
from eml.training.optimizer import build_optimizer
from tests.tiny_clip import CLIP, NATIVE, SIGLIP, write_tiny_clip

pytestmark = pytest.mark.xdist_group("clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")

SMALL_TEXT = CLIP["text_cfg"] | {"width": 8, "heads": 1, "layers": 1}
RESNET = NATIVE | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}}
TEXTS = ["a red mug", "A photo of two CATS, which sit on a mat and would never leave the house in such heavy rain"]
TEMPLATES = ["a photo of a {}.", "many {}s"]


def write(folder: Path, tiny: dict[str, Any]) -> Path:
    """Write a CLIP whose text tower takes little time."""
    return write_tiny_clip(folder, config=tiny | {"text_cfg": tiny["text_cfg"] | SMALL_TEXT})


def config(folder: Path, **changes: object) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": f"open_clip:local-dir:{folder}", "neck": Identity()} | changes)


def both(embedder: Embedder, size: int) -> list[torch.Tensor]:
    """Return embeddings of random images and of texts."""
    assert embedder.text is not None
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return [embedder.eval()(images), embedder.text(embedder.text.tokenize(TEXTS))]


@pytest.mark.parametrize(
    "tiny, size",
    [(CLIP, 96), (NATIVE, 96), pytest.param(RESNET, 64, marks=pytest.mark.wide), (SIGLIP, 160)],
    ids=["timm at another size", "native at another size", "resnet", "siglip"],
)
def test_both_towers_are_those_of_open_clip_and_a_checkpoint_needs_nothing_else(
    tmp_path: Path, tiny: dict[str, Any], size: int
) -> None:
    folder = write(tmp_path / "tiny", tiny)
    name = f"local-dir:{folder}"
    theirs = open_clip.create_model(name, force_image_size=size).eval()
    embedder = build_embedder(config(folder), size)
    images, texts = both(embedder, size)
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(images, theirs.encode_image(pixels), rtol=0, atol=1e-6)
        their_texts = theirs.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
        torch.testing.assert_close(normalize(texts), their_texts, rtol=0, atol=1e-6)
    assert embedder.text is not None
    assert embedder.text.logit_scale.item() == theirs.logit_scale.item()
    bias = embedder.text.logit_bias
    assert (None if bias is None else bias.item()) == (None if tiny is not SIGLIP else theirs.logit_bias.item())

    preprocess = preprocess_of(config(folder), size=size)
    save_checkpoint(tmp_path / "checkpoint", embedder, config(folder), preprocess, ["a", "b"], {})
    folder.rename(tmp_path / "gone")
    stored = load_checkpoint(tmp_path / "checkpoint")
    for own, loaded in zip((images, texts), both(stored.embedder, size), strict=True):
        torch.testing.assert_close(loaded, own, rtol=0, atol=0)
    assert stored.config.format == 7
    assert stored.config.model.backbone == "open_clip:tiny"
    assert str(tmp_path) not in (tmp_path / "checkpoint" / "config.json").read_text()
    assert embedder.architecture == stored.embedder.architecture


def test_zero_shot_by_names_equals_open_clips_own_code(tiny_clip: Path) -> None:
    name = f"local-dir:{tiny_clip}"
    theirs, _, transform = open_clip.create_model_and_transforms(name)
    names = ["cat", "red mug", "window"]
    classifier = open_clip.build_zero_shot_classifier(theirs.eval(), open_clip.get_tokenizer(name), names, TEMPLATES)
    model = load(f"open_clip:{name}")
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (160, 160, 3), np.uint8) for _ in range(4)]
    texts = model.embed_text([template.format(text) for text in names for template in TEMPLATES])
    classes = normalize(torch.from_numpy(texts).view(3, 2, -1).mean(1))
    ours = torch.from_numpy(model.embed(images)) @ classes.T
    from PIL import Image

    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected = theirs.encode_image(pixels, normalize=True) @ classifier
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_the_preprocessing_is_that_of_the_folder(tiny_clip: Path) -> None:
    own = preprocess_of(f"open_clip:local-dir:{tiny_clip}")
    assert (own.size, own.interpolation, own.mean, own.std) == (160, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert preprocess_of("open_clip:ViT-B-16-SigLIP-256/webli").mean == (0.5, 0.5, 0.5)
    assert preprocess_of("open_clip:RN50").std == open_clip.OPENAI_DATASET_STD
    assert nearest_size(f"open_clip:local-dir:{tiny_clip}", 90) == 96


def test_gradients_reach_both_towers_where_the_text_tower_is_trained(tiny_clip: Path) -> None:
    embedder = build_embedder(config(tiny_clip), 32)
    assert embedder.text is not None
    assert not any(weight.requires_grad for weight in embedder.text.parameters())
    embedder.train_text(True)
    embedder.train()
    images, texts = embedder(torch.rand(2, 3, 32, 32)), embedder.text(embedder.text.tokenize(TEXTS))
    (embedder.text.logit_scale.exp() * normalize(images) @ normalize(texts).T).diagonal().sum().backward()
    without = [name for name, weight in embedder.named_parameters() if weight.grad is None]
    assert without == []


@pytest.mark.parametrize("tiny, stages", [(CLIP, 7), (NATIVE, 3)], ids=["timm", "native"])
def test_stages_can_be_frozen(tmp_path: Path, tiny: dict[str, Any], stages: int) -> None:
    folder = write(tmp_path / "tiny", tiny)
    with pytest.raises(ConfigError, match=rf"has {stages + 1} stages"):
        build_embedder(config(folder, freeze=99), 64)
    frozen = build_embedder(config(folder, freeze=stages), 64)
    trained = {name for name, weight in frozen.backbone.named_parameters() if weight.requires_grad}
    assert trained == {"visual.head.proj.weight" if tiny is CLIP else "visual.proj"}


def test_activations_are_recomputed_where_the_config_says_so(tmp_path: Path, tiny_clip: Path) -> None:
    embedder = build_embedder(config(tiny_clip, gradient_checkpointing=True), 32)
    assert embedder.backbone.visual.trunk.grad_checkpointing
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        build_embedder(config(write(tmp_path / "resnet", RESNET), gradient_checkpointing=True))


@pytest.mark.wide
@pytest.mark.parametrize("tiny, depths", [(CLIP, 8), (NATIVE, 4), (RESNET, 5)], ids=["timm", "native", "resnet"])
def test_deeper_stages_learn_faster_and_adapters_are_merged_in_checkpoints(
    tmp_path: Path, tiny: dict[str, Any], depths: int
) -> None:
    folder = write(tmp_path / "tiny", tiny)
    embedder = build_embedder(config(folder), 64)
    settings = OptimizerConfig.model_validate({"layer_decay": 0.5, "lr": {"text": 0}})
    optimizer = build_optimizer(settings, embedder, ClassHead(ArcFace(), 3, embedder.size))
    groups = [group for group in optimizer.param_groups if group["part"] == "backbone"]
    assert len({group["peak_lr"] for group in groups}) == depths
    undecayed = {id(weight) for group in groups if not group["weight_decay"] for weight in group["params"]}
    positions = [name for name, _ in embedder.backbone.named_parameters() if "pos_embed" in name]
    assert all(id(embedder.backbone.get_parameter(name)) in undecayed for name in positions)
    if tiny is RESNET:
        return
    LoRA(rank=2).apply(embedder.backbone, "tiny")
    for name, weight in embedder.backbone.named_parameters():
        if "lora_b" in name:
            nn.init.normal_(weight)
    own = both(embedder, 64)
    save_checkpoint(
        tmp_path / "checkpoint", embedder, config(folder), preprocess_of(config(folder), size=64), ["a"], {}
    )
    for before, after in zip(own, both(load_checkpoint(tmp_path / "checkpoint").embedder, 64), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_resnet_takes_images_of_its_own_size_alone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"size mismatch .*; its weights are for images of 64 pixels"):
        build_embedder(config(write(tmp_path / "resnet", RESNET)), 96)
    with pytest.raises(ConfigError, match=r"cannot take images of 96×64 pixels .*squares alone"):
        build_embedder(config(tmp_path / "resnet"), (96, 64))


def test_places_stay_also_where_another_shape_has_as_many_patches(tmp_path: Path) -> None:
    network = config(write(tmp_path / "native", NATIVE))
    square, tall, turned = (build_embedder(network, size).state_dict() for size in (64, (128, 32), (32, 128)))
    name = "backbone.visual.positional_embedding"
    assert square[name].shape == tall[name].shape
    grids = tall[name][1:].view(8, 2, -1), turned[name][1:].view(2, 8, -1)
    torch.testing.assert_close(tall[name][0], square[name][0])
    for rows in (0, -1):  # each corner is near that of the square, and far from the others
        near = torch.cdist(square[name][1:].view(4, 4, -1)[rows, [0, -1]], grids[0][rows, [0, -1]])
        assert near.argmin(1).tolist() == [0, 1]
    assert not torch.equal(tall[name], turned[name])
    assert not torch.equal(tall[name], square[name])


def test_an_ensemble_has_no_text_tower(tmp_path: Path) -> None:
    name = f"open_clip:local-dir:{write(tmp_path / 'tiny', CLIP)}"
    joined = load([name, name], image_size=32)
    assert not joined.takes_text
    with pytest.raises(ConfigError, match="has no text tower"):
        joined.embed_text(TEXTS)
    assert not any("text." in name for name in joined.embedder.state_dict())
    save_model(tmp_path / "joined", joined)
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(load(tmp_path / "joined").embed_pixels(pixels), joined.embed_pixels(pixels))


@pytest.mark.wide
def test_a_renamed_folder_is_the_same_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "first", CLIP)
    first = load(f"open_clip:local-dir:{folder}", image_size=32)
    folder.rename(tmp_path / "second")
    second = load(f"open_clip:local-dir:{tmp_path / 'second'}", image_size=32)
    assert first.fingerprint.digest == second.fingerprint.digest
    assert (first.backbone, second.backbone) == ("open_clip:first", "open_clip:second")
    embedder = first.embedder
    assert fingerprint_of(embedder, {}, first.preprocess, backbone="", size=24).digest != first.fingerprint.digest


def test_a_captioner_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny", CLIP)
    file = folder / "open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["multimodal_cfg"] = {"width": 8}
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="tiny is a CoCa"):
        build_embedder(config(folder), 32)


def test_a_damaged_definition_and_a_missing_package_are_errors(
    tmp_path: Path, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint"
    save_model(checkpoint, load(f"open_clip:local-dir:{tiny_clip}", image_size=32))
    file = checkpoint / "config.json"
    whole = json.loads(file.read_text())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "open_clip", None)
        with pytest.raises(ConfigError, match=r"pip install 'easy-metric-learning\[clip\]'"):
            load_checkpoint(checkpoint)
    for damage in ({}, {"model_cfg": {}}, whole["model"]["definition"] | {"model_cfg": {"vision_cfg": {}}}):
        file.write_text(json.dumps(whole | {"model": whole["model"] | {"definition": damage}}))
        with pytest.raises(CheckpointError, match=r"config\.json: model\.definition: nothing can be built from it"):
            load_checkpoint(checkpoint)
    file.write_text(json.dumps(whole | {"format": NEWEST_FORMAT + 1}))
    with pytest.raises(CheckpointError, match="written by a newer eml"):
        load_checkpoint(checkpoint)


def test_another_pooling_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.pooling: .* pools as it was trained"):
        build_embedder(config(tiny_clip, pooling="avg"), 32)


@pytest.fixture
def folder_with_a_text_tower_of_transformers(tmp_path: Path) -> Path:
    """A CLIP with a small BERT, whose tokenizer's files are in the folder."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[PAD]", "[UNK]", "a", "red", "mug", "photo", "of", "cats"]
    words = {name: number for number, name in enumerate(names)}
    own = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **settings)
    bert.save_pretrained(tmp_path / "bert")
    text = {"hf_model_name": str(tmp_path / "bert"), "hf_model_pretrained": False, "hf_tokenizer_name": "nowhere"}
    text |= {"context_length": 16, "hf_pooler_type": "mean_pooler"}
    folder = write_tiny_clip(tmp_path / "tiny", config=CLIP | {"text_cfg": text, "custom_text": True})
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=own, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    return folder


@pytest.mark.wide
def test_a_text_tower_and_tokenizer_of_transformers_are_in_the_checkpoint(
    tmp_path: Path, folder_with_a_text_tower_of_transformers: Path
) -> None:
    folder = folder_with_a_text_tower_of_transformers
    embedder = build_embedder(config(folder), 160)
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    images, texts = both(embedder, 160)
    with torch.no_grad():
        their_texts = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS))
    torch.testing.assert_close(texts, their_texts, rtol=0, atol=1e-6)
    preprocess = preprocess_of(config(folder))
    save_checkpoint(tmp_path / "checkpoint", embedder, config(folder), preprocess, ["a", "b"], {})
    folder.rename(tmp_path / "gone")
    (tmp_path / "bert").rename(tmp_path / "gone_too")
    stored = load_checkpoint(tmp_path / "checkpoint")
    for own, loaded in zip((images, texts), both(stored.embedder, 160), strict=True):
        torch.testing.assert_close(loaded, own, rtol=0, atol=0)
    save_checkpoint(tmp_path / "copy", stored.embedder, stored.config.model, preprocess, ["a", "b"], {})
    load_checkpoint(tmp_path / "copy")
    assert (tmp_path / "copy" / "tokenizer" / "tokenizer.json").is_file()


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exporter, package", [({"dynamo": True}, "onnxscript"), ({"dynamo": False}, "onnx")])
def test_both_towers_go_through_onnx(tmp_path: Path, tiny_clip: Path, exporter: dict[str, bool], package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    embedder = load(f"open_clip:local-dir:{tiny_clip}").embedder.eval()
    assert embedder.text is not None
    inputs = torch.rand(2, 3, 160, 160), embedder.text.tokenize(TEXTS)
    for tower, values in zip((embedder, embedder.text), inputs, strict=True):
        torch.onnx.export(tower, (values,), str(tmp_path / "tower.onnx"), **exporter)
        session = onnxruntime.InferenceSession(str(tmp_path / "tower.onnx"))
        (outputs,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(outputs, tower(values).numpy(), rtol=0, atol=5e-6)


def test_the_image_tower_alone_needs_no_files_of_its_text_tower(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny", NATIVE)
    file = folder / "open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["text_cfg"] = {"hf_model_name": "nowhere/roberta", "hf_tokenizer_name": "nowhere/words"}
    file.write_text(json.dumps(content))
    assert without_memory(config(folder), 64) is not None
    assert nearest_size(config(folder), 90) == 96
    with pytest.raises(CheckpointError, match=r"the files of the text tower of open_clip:local-dir:.* are not in the"):
        build_embedder(config(folder))
