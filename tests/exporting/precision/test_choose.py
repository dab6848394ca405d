from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

from eml.errors import ConfigError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.exporting.precision.choose import Int8Way, choose_way
from eml.exporting.precision.images import QuantizationImages

CLASSES, EACH = 30, 4
LABELS = np.repeat(np.arange(CLASSES), EACH)


def prepared() -> tuple[QuantizationImages, torch.Tensor]:
    """Return a proof of separable classes, and noise of the same shape."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, 16, generator=generator).repeat_interleave(EACH, 0)
    noise = torch.randn(len(centres), 16, generator=generator)
    rows = np.arange(len(LABELS))
    frame = pd.DataFrame({"label": LABELS.astype(str), "file_name": rows.astype(str)})
    pixels = np.zeros((len(LABELS), 1, 1, 3), np.uint8)
    retrieval = RetrievalSet(frame, LABELS, rows, rows, "leave-one-out")
    return QuantizationImages(pixels, "16 images", pixels, retrieval, normalize(centres + 0.6 * noise)), noise


def chosen(tmp_path: Path, embeddings: dict[str, torch.Tensor | None]) -> tuple[str, str, list[str]]:
    """Return which of the ways with these embeddings is kept, how that is told, and the lines of the report."""
    images, _ = prepared()
    lines: list[str] = []

    def way(name: str) -> Int8Way:
        def write(source: Path, target: Path) -> None:
            if embeddings[name] is None:
                raise RuntimeError("an operation is unknown\nat line 3")
            target.write_text(name)

        return Int8Way(name, f"made by {name}", write)

    def embed(path: Path, pixels: np.ndarray) -> np.ndarray:
        own = embeddings[path.read_text()]
        assert own is not None
        return own[: len(pixels)].numpy()

    path, details = choose_way(tmp_path / "a.onnx", [way(name) for name in embeddings], images, embed, lines.append)
    return path.read_text(), details, lines


def test_the_way_with_the_better_retrieval_is_kept(tmp_path: Path) -> None:
    images, noise = prepared()
    far = normalize(images.reference @ torch.linalg.qr(noise[:16]).Q)  # turned: cosines near 0, retrieval as it was
    name, details, lines = chosen(tmp_path, {"static": normalize(images.reference + noise), "dynamic": far})
    assert name == "dynamic"
    assert details.startswith("made by dynamic (on the proof's images static: MAP@R ")
    assert "dynamic, the only one that keeps to the limits of the proof" in lines[-1]


def test_one_that_keeps_the_limits_is_kept_though_its_embeddings_are_farther(tmp_path: Path) -> None:
    images, noise = prepared()
    skew = noise[:16] - noise[:16].T
    turned = images.reference @ torch.linalg.matrix_exp(0.1 * skew)
    near = normalize(images.reference + 0.1 * noise.flip(0))
    name, _, lines = chosen(tmp_path, {"clipped": near, "dynamic": turned})
    assert name == "dynamic"
    cosines = [float(line.split("mean cosine ")[1][:6]) for line in lines[:2]]
    assert cosines[0] > cosines[1], "the other one is closer"


def test_where_none_keeps_the_limits_the_best_one_is_kept(tmp_path: Path) -> None:
    images, noise = prepared()
    worse, worst = (normalize(images.reference + share * noise.flip(0)) for share in (0.3, 0.9))
    name, _, lines = chosen(tmp_path, {"static": worst, "dynamic": worse})
    assert name == "dynamic"
    assert lines[-1].endswith("whose MAP@R is best, though it does not keep to the limits of the proof")


def test_of_equal_ways_the_closest_is_kept(tmp_path: Path) -> None:
    images, noise = prepared()
    skew = noise[:16] - noise[:16].T
    near, far = (images.reference @ torch.linalg.matrix_exp(share * skew) for share in (0.001, 0.1))  # turned
    name, _, lines = chosen(tmp_path, {"dynamic": far, "static": near})
    assert name == "static"
    assert "whose MAP@R is best" in lines[-1]


def test_a_way_that_fails_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    images, _ = prepared()
    broken = images.reference.clone()
    broken[3, 2] = torch.nan
    name, _, lines = chosen(tmp_path, {"static": None, "clipped": broken, "dynamic": images.reference})
    assert name == "dynamic"
    assert lines[0] == "int8 static: an operation is unknown"
    assert "clipped: 1 of 120 embeddings hold NaN" in lines[1]
    with pytest.raises(ConfigError) as error:
        chosen(tmp_path, {"static": None, "clipped": broken})
    assert (error.value.code, error.value.parameter) == ("unsupported-by-backbone", "precision")
