"""Text towers of open_clip's networks and of checkpoints as text encoders."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Preprocess
from eml.inference.load import load
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.identity import Identity
from eml.texts.embed_texts import text_vectors
from eml.texts.encoders import check_encoder, find_encoder

TEXTS = ["a red mug", "a bowl", "a much longer text about a bowl"]


@pytest.mark.xdist_group("clip")
def test_the_tower_of_a_folder_and_of_a_checkpoint_of_it_are_the_models_own(tiny_clip: Path, tmp_path: Path) -> None:
    name = f"open_clip:local-dir:{tiny_clip}"
    encoder = find_encoder(name)
    model = load(name)
    np.testing.assert_allclose(encoder.embed(TEXTS), model.embed_text(TEXTS), atol=1e-6)
    assert model.embedder.text is not None
    assert encoder.logit_scale == pytest.approx(model.embedder.text.logit_scale.exp().item())
    assert encoder.logit_bias is None
    config = ModelConfig(backbone=name, neck=Identity())
    save_checkpoint(tmp_path / "checkpoint", model.embedder, config, model.preprocess, ["a", "b"], {})
    stored = find_encoder(str(tmp_path / "checkpoint"))
    assert stored.digest == encoder.digest
    np.testing.assert_array_equal(stored.embed(TEXTS), encoder.embed(TEXTS))


@pytest.mark.xdist_group("clip")
def test_texts_that_the_tower_cuts_off_are_told_once(tiny_clip: Path) -> None:
    """It takes 16 tokens, of which two are marks: 14 words fit."""
    encoder = find_encoder(f"open_clip:local-dir:{tiny_clip}")
    fits, longer = " ".join(["dog"] * 14), " ".join(["dog"] * 15)
    lines: list[str] = []
    text_vectors(
        ["a", "b", "c"],
        [(fits,), (longer, fits), ("a very small dog of a very large breed",)],
        encoder,
        report=lines.append,
    )
    assert lines == [
        f"1 text is cut off, of 3: longer than what the text encoder takes, such as '{longer}'; put what matters first"
    ]
    assert encoder.too_long([fits, "dog", longer, longer + " dog"]) == [longer, longer + " dog"]


@pytest.mark.xdist_group("clip")
def test_the_same_weights_in_another_architecture_are_another_encoder(tiny_clip: Path, tmp_path: Path) -> None:
    digests = set()
    variants: list[dict[str, Any]] = [{}, {"quick_gelu": True}, {"text_cfg": {"heads": 4}}]
    for number, changes in enumerate(variants):
        folder = tmp_path / str(number)
        shutil.copytree(tiny_clip, folder)
        file = folder / "open_clip_config.json"
        config = json.loads(file.read_text())
        own = config["model_cfg"]
        text_cfg = own["text_cfg"] | changes.pop("text_cfg", {})
        file.write_text(json.dumps(config | {"model_cfg": own | changes | {"text_cfg": text_cfg}}))
        digests.add(find_encoder(f"open_clip:local-dir:{folder}").digest)
    assert len(digests) == 3


def test_a_checkpoint_without_text_tower_says_what_has_one(tmp_path: Path) -> None:
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Identity())
    save_checkpoint(tmp_path / "checkpoint", build_embedder(config, 32), config, Preprocess(size=32), ["a", "b"], {})
    with pytest.raises(
        ConfigError, match=r"`encoder`: .* has no text tower, so it embeds images alone; name st:"
    ) as error:
        find_encoder(str(tmp_path / "checkpoint")).embed(TEXTS)
    assert error.value.code == "no-text-tower"
    with pytest.raises(CheckpointError, match=r"none does not exist: .*; a text encoder is also st:NAME_OR_PATH"):
        check_encoder(str(tmp_path / "none"))
