"""`eml evaluate` with texts, by a small CLIP: what it writes, shows and refuses; and open_clip's own zero-shot code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from eml.cli.app import main
from eml.models.backbones import preprocess_of
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.identity import Identity
from tests.cli.terminal import shown_on_terminal

pytestmark = pytest.mark.xdist_group("clip")

CLASSES = ["red_cup", "green_cup", "blue_cup", "red_box", "green_box", "blue_box"]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of six classes, in tables of those that are measured and of labelled ones."""
    random = np.random.default_rng(0)
    rows = []
    for number, label in enumerate(CLASSES):
        (tmp_path / label).mkdir()
        for image in range(6):
            pixels = random.integers(0, 60, (24, 24, 3)) + 60 * np.array([number % 3 == c for c in range(3)])
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / label / f"{image}.png")
            rows.append((label, f"{label}/{image}.png", f"{label.replace('_', ' ')} seen {image // 2} times"))
    table = pd.DataFrame(rows, columns=["label", "file_name", "caption"])
    table[table.index % 6 < 4].to_csv(tmp_path / "test.csv", index=False)
    table[table.index % 6 >= 4].to_csv(tmp_path / "labelled.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_texts_are_measured_written_and_shown_in_80_columns(tiny_clip: Path, photos: Path) -> None:
    name = f"open_clip:local-dir:{tiny_clip}"
    words = ["evaluate", name, "-d", "test.csv", "--text-column", "caption", "--template", "a photo of a {label}"]
    words += ["--adapt-on", "labelled.csv", "--out", "out", "--no-report"]
    lines = [line.rstrip() for line in shown_on_terminal(words, 80)]
    facts = json.loads((photos / "out" / "test" / "metrics.json").read_text())["text"]
    assert set(facts) == {"captions", "class_texts", "zero_shot", "adapted"}
    assert facts["captions"]["texts"] == 12
    assert facts["captions"]["text_to_image"]["chance"]["recall_at_1"] == pytest.approx(2 / 24)
    assert facts["zero_shot"]["chance"]["top_1"] == pytest.approx(1 / 6)
    shown = "\n".join(lines)
    for text in ("test, by caption", "text → image", "image → text", "median rank", "test, zero-shot: 24 images, 6 cl"):
        assert text in shown
    [row] = [line for line in lines if line.strip().startswith("names and images ") and "(" in line]
    assert f"{facts['adapted']['rows'][2]['metrics']['top_1']:.3f} (" in row
    assert max(map(len, lines[: lines.index("test, by caption")])) <= 80


def test_zero_shot_by_several_templates_is_that_of_open_clips_own_code(tiny_clip: Path, photos: Path) -> None:
    import open_clip

    from eml.dataset.table import Table
    from eml.evaluation.evaluate import evaluate_model
    from eml.evaluation.options import EvaluationOptions
    from eml.evaluation.retrieval_set import build_retrieval_set
    from eml.evaluation.texts.prepared import prepare_texts
    from eml.inference.embed import Batching
    from eml.inference.load import load
    from eml.progress import no_progress

    model = load(f"open_clip:local-dir:{tiny_clip}", device="cpu")
    table = Table(pd.read_csv("test.csv"), photos)
    retrieval = build_retrieval_set(table.frame, "test")
    templates = ("a photo of a {label}", "one {label}, please")
    prepared = prepare_texts(retrieval, table, EvaluationOptions(template=templates))
    assert prepared is not None
    embedded = prepared.embed(model, Batching(), no_progress)
    assert embedded is not None
    assert embedded.classes is not None
    own, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    own.eval()
    names = [label.replace("_", " ") for label in retrieval.class_names]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_clip}")
    filled = [lambda name, text=text: text.replace("{label}", name) for text in templates]
    weights = open_clip.build_zero_shot_classifier(own, tokenizer, names, filled)
    vectors = torch.nn.functional.normalize(embedded.classes).numpy()
    assert np.abs(vectors - weights.T.numpy()).max() < 1e-6
    evaluation = evaluate_model(model, table, retrieval)
    assert embedded.scale == pytest.approx(own.logit_scale.exp().item())
    logits = evaluation.embeddings.numpy() @ weights.numpy()
    assert np.abs(evaluation.embeddings.numpy() @ vectors.T - logits).max() < 1e-6
    with torch.no_grad():
        images = torch.stack([transform(Image.open(photos / name)) for name in table.frame["file_name"]])
        theirs = own.encode_image(images, normalize=True).numpy()
    assert np.abs(evaluation.embeddings.numpy() - theirs).max() < 0.02, "resized by torch, not by Pillow"


def test_a_model_without_a_text_tower_is_named_before_any_is_embedded(
    tiny_clip: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, backbone in (("clip", f"open_clip:local-dir:{tiny_clip}"), ("images", "test_vit")):
        config = ModelConfig(backbone=backbone, weights="pretrained" if name == "clip" else "none", neck=Identity())
        preprocess = preprocess_of(backbone)
        save_checkpoint(photos / name, build_embedder(config, preprocess.size), config, preprocess, ["a", "b"], {})
    words = ["-d", "test.csv", "--template", "{label}", "--out", "out", "--no-report"]
    assert run("evaluate", "clip", "images", *words) == 2
    assert capfd.readouterr().err == "--template: images has no text tower, so it embeds images alone\n"
    assert not (photos / "out").exists(), "the first of them is not measured before"
    assert run("evaluate", "timm:test_vit", "--weights", "none", *words) == 2
    assert "--template: timm:test_vit has no text tower" in capfd.readouterr().err
    assert run("evaluate", "clip", *words) == 0
    assert "zero_shot" in json.loads((photos / "out" / "test" / "metrics.json").read_text())["text"]
