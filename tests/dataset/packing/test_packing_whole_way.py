"""Packed images through scan, split, kfold, training and evaluation: what the folder gives, to the last bit."""

import importlib.util
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eml

FORMATS = [name for name in ("tar", "parquet") if name == "tar" or importlib.util.find_spec("pyarrow")]
PREFIX = 2  # parts of a packed file's name: data/train-00000-of-00003.tar


def draw(root: Path, images: int, classes: int) -> Path:
    """Draw JPEGs, PNGs and WebPs that all differ, each class with a colour of its own."""
    colours = np.random.default_rng(0).integers(30, 226, (classes, 3))
    for number in range(images):
        label, random = number % classes, np.random.default_rng(number)
        pixels = (colours[label] + random.normal(0, 50, (5, 5, 3))).clip(0, 255).astype(np.uint8)
        form = ("JPEG", "PNG", "WEBP", "JPEG")[number % 4]
        data = io.BytesIO()
        size = (36 + number % 9, 40 - number % 7)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(data, form)
        folder = root / f"class {label:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.{form.lower().replace('jpeg', 'jpg')}").write_bytes(data.getvalue())
    return root


def rows(path: Path, parts: int = PREFIX + 1) -> pd.DataFrame:
    """Return a table as text, with the names that the images had in the folder."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).astype(object)
    if (table["file_name"].str.count("/") >= PREFIX).all():
        table["file_name"] = table["file_name"].str.split("/", n=parts - 1).str[parts - 1]
    return table


def go_the_way(data: Path, out: Path, workers: int) -> dict[str, bytes | pd.DataFrame]:
    """Scan, split, cut folds, train and evaluate; return tables, weights and metrics."""
    out.mkdir()
    eml.scan(data, out=out / "dataset_info.csv", workers=workers)
    eml.split(out / "dataset_info.csv", by="ratio", test_ratio=0.3, out=out)
    eml.kfold(out / "dataset_train.csv", k=3, out=out)
    run = eml.train(
        eml.RunConfig.model_validate(
            {
                "output": out / "run",
                "recipe": "none",
                "data": {"table": out / "folds.csv", "workers": workers},
                "image": {"size": 32},
                "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16}},
                "head": {"scale": 16},
                "augment": {"type": "light"},
                "epochs": 1,
                "batch_size": 64,
                "seed": 3,
            }
        )
    )
    eml.evaluate(run.folder, data=out / "dataset_test.csv", out=out / "evaluation")
    files = [run.folder / "steps.jsonl", *sorted((run.folder / "checkpoints").rglob("*.safetensors"))]
    facts: dict[str, bytes | pd.DataFrame] = {file.name: file.read_bytes() for file in files}
    for name in ("dataset_info", "dataset_train", "dataset_test", "folds"):
        facts[name] = rows(out / f"{name}.csv")
    metrics = next((out / "evaluation").rglob("metrics.json")).read_text()
    facts["metrics"] = repr(json.loads(metrics)["metrics"]).encode()
    return facts


def check_all(tmp_path: Path, images: int, classes: int, shard_size: str, workers: int) -> None:
    folder = draw(tmp_path / "photos", images, classes)
    expected = go_the_way(folder, tmp_path / "of folder", workers)
    for format_ in FORMATS:
        packed = eml.pack(
            tmp_path / "of folder" / "dataset_info.csv", tmp_path / format_, format=format_, shard_size=shard_size
        )
        assert packed.images == images
        assert len(packed.shards) >= 3
        facts = go_the_way(tmp_path / format_, tmp_path / f"of {format_}", workers)
        assert facts.keys() == expected.keys()
        for name, value in expected.items():
            own = facts[name]
            if isinstance(value, pd.DataFrame):
                assert isinstance(own, pd.DataFrame)
                pd.testing.assert_frame_equal(own, value)
            else:
                assert own == value, (format_, name)


@pytest.mark.wide
def test_few_images_give_the_same_in_worker_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.dataset.packing.plan._cut", lambda sizes, most: [(0, 50), (50, 51), (51, len(sizes))])
    check_all(tmp_path, images=240, classes=12, shard_size="1MB", workers=2)


@pytest.mark.wide
def test_twenty_thousand_images_give_the_folders_table_split_weights_and_metrics(tmp_path: Path) -> None:
    check_all(tmp_path, int(os.environ.get("EML_PACKED_IMAGES", "20000")), 200, "5MB", workers=1)
