"""Measure how far timm's own transform moves the embeddings of a hub folder from eml's, and what retrieval loses.

    python tests/benchmarks/hub_folder.py CHECKPOINT TABLE [--per-class 5]

Both embed the same image files with the same network: eml by its preprocessing, timm by the transform that the hub
folder's config.json describes, which resizes with Pillow. Each `fit` is tried with each of torch's and Pillow's
resizing. The row of a fit that is not the checkpoint's own is of the same network, which was not trained so.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import eml
from eml.dataset.table import read_table
from eml.evaluation.evaluate import rank_gallery
from eml.evaluation.retrieval_set import RetrievalSet, label_codes
from eml.exporting.hub.candidate import TimmReading, as_libraries_embed
from eml.exporting.hub.folder import write_hub_folder
from eml.images.image_size import height_width
from eml.inference.model import Model
from eml.retrieval.metrics import summarise


def main() -> None:
    """Print a row for each fit and resizing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("table", type=Path)
    parser.add_argument("--per-class", type=int, default=5)
    arguments = parser.parse_args()
    table = read_table(arguments.table)
    frame = table.frame.groupby("label", sort=True).head(arguments.per_class).reset_index(drop=True)
    files = [table.root / name for name in frame["file_name"]]
    images = [Image.open(file).convert("RGB") for file in files]
    rows = np.arange(len(frame))
    retrieval = RetrievalSet(frame, label_codes(frame), rows, rows, "leave-one-out")
    own = as_libraries_embed(eml.load(arguments.checkpoint, device="cpu"))
    print(f"{len(frame)} images of {frame['label'].nunique()} classes, {height_width(own.preprocess.size)} pixels")
    print("fit     resize   pixels: mean  most  same    cosine: least  mean      MAP@R: eml  timm    R@1: eml  timm")
    for fit in ("squash", "crop", "pad"):
        for resize in ("torch", "pillow"):
            preprocess = own.preprocess.model_copy(update={"fit": fit, "resize": resize})
            model = Model(own.embedder, preprocess, own.device, backbone=own.backbone, trained_on=own.trained_on)
            model.compression = own.compression
            with tempfile.TemporaryDirectory() as folder:
                write_hub_folder(model, Path(folder) / "hub")
                theirs = TimmReading.of_folder(Path(folder) / "hub")
                print(f"{fit:7} {resize:8}", *_measure(model, theirs, images, retrieval))


def _measure(model: Model, theirs: TimmReading, images: list[Image.Image], retrieval: RetrievalSet) -> list[str]:
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (model.preprocess.std, model.preprocess.mean))
    own = [torch.from_numpy(model.preprocess(image).copy()).permute(2, 0, 1).float() for image in images]
    other = [((theirs.transform(image) * std + mean) * 255).round() for image in images]
    difference = (torch.stack(own) - torch.stack(other)).abs()
    embeddings = [torch.from_numpy(model.embed(images)), theirs.embed_images(images)]
    cosine = (embeddings[0].double() * embeddings[1].double()).sum(1)
    values = [summarise(rank_gallery(rows.double(), retrieval)).values for rows in embeddings]
    pixels = f"{difference.mean():12.3f} {difference.max():5.0f} {(difference == 0).double().mean():5.1%}"
    metrics = [f"{name:>{width}}" for name, width in ((f"{v['map_at_r']:.4f}", 9) for v in values)]
    recalls = [f"{v['recall_at_1']:.4f}" for v in values]
    return [pixels, f"{cosine.min():15.5f} {cosine.mean():.6f}", *metrics, "      ", *recalls]


if __name__ == "__main__":
    main()
