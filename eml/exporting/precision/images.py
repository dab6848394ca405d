"""The images that int8 is made with: those that set the steps, and those of the proof, which choose between ways."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.table import Table
from eml.errors import ConfigError, DataError, EmlError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.exporting.proof.find_images import tables_of_run
from eml.exporting.proof.images import ProofImages
from eml.images.loading import InOrder, batches
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.facts import InputKind
from eml.inference.exported.runtimes.base import normalised
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.progress import Progress, Report, no_progress

IMAGES = 200
"""Calibration images. Of mobilenetv2_100 on grocery160, 64 gave the same cosines as 240 to the third decimal."""
FEWEST = 16
SEED = 0
BATCH = 16


@dataclass(frozen=True)
class QuantizationImages:
    """Pixels as the network takes them.

    Attributes:
        calibration: (N, H, W, 3) uint8, which steps are made from.
        calibrated_on: Where they come from, for messages.
        proof: (M, H, W, 3) uint8, none of them among the calibration images.
        retrieval: The proof's images as queries and gallery.
        reference: (M, D) embeddings of the proof's images by the model.
    """

    calibration: Pixels
    calibrated_on: str
    proof: Pixels
    retrieval: RetrievalSet
    reference: Tensor

    def inputs(self, input: InputKind, preprocess: Preprocess) -> Iterator[NDArray[Any]]:
        """Yield the calibration images one by one, as a graph takes them."""
        for start in range(len(self.calibration)):
            pixels = self.calibration[start : start + 1]
            yield normalised(pixels, preprocess) if input == "float" else pixels


def load_images(
    model: Model,
    checkpoint: str,
    calibrate_on: Path | None,
    proof: ProofImages,
    *,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> QuantizationImages:
    """Read the images that int8 is made with.

    Args:
        model: The model to export.
        checkpoint: As the user named it.
        calibrate_on: The table or folder of the calibration images; None: those that the run was trained on.
        proof: The images of the proof.
        report: Takes a line on which images are used.
        progress: Reports the images that are read.

    Raises:
        ConfigError: No table is named, and the model's run is not known.
        DataError: The table has fewer than 16 images that are not the proof's.
    """
    table = _calibration_table(model, checkpoint, calibrate_on, report, progress)
    frame = _without(table, proof)
    if len(frame) < FEWEST:
        text = (
            f"{table.name}: {len(frame):,} of {len(table.frame):,} images are not those of the proof, and int8 is "
            f"calibrated on at least {FEWEST}; give another table as `calibrate_on`"
        )
        raise DataError(text, code="too-few-images", parameter="calibrate_on")
    frame = _spread(frame, IMAGES)
    classes = int(frame["label"].nunique())
    place = f"{len(frame):,} images of {classes:,} class{'' if classes == 1 else 'es'} of {_file_name(table)}"
    report(f"int8 is calibrated on {place}, none of them of the proof")
    calibration = _pixels(table, frame, model.preprocess, "reading calibration images", progress)
    pixels = _pixels(proof.table, proof.frame, model.preprocess, "reading the proof's images", progress)
    parts = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(BATCH)
    reference = torch.cat([model.embed_pixels(part) for part in parts])
    return QuantizationImages(calibration, place, pixels, proof.retrieval(), reference)


def _calibration_table(
    model: Model, checkpoint: str, calibrate_on: Path | None, report: Report, progress: Progress
) -> Table:
    if calibrate_on is not None:
        return table_to_evaluate(calibrate_on, None, report, progress)
    try:
        table, fold = tables_of_run(model)
    except EmlError as error:
        text = (
            f"{checkpoint}: int8 needs images to calibrate on, and those that it was trained on are not known "
            f"({error.problems[0]}); give a table or a folder as `calibrate_on`"
        )
        raise ConfigError(text, code="missing-key", parameter="calibrate_on") from error
    if fold is None or "fold" not in table.frame:
        return table
    return Table(**vars(table) | {"frame": table.frame[table.frame["fold"] != fold].reset_index(drop=True)})


def _file_name(table: Table) -> str:
    return table.path.name if table.path is not None else f"the table of {table.root.name}"


def _without(table: Table, proof: ProofImages) -> pd.DataFrame:
    """Return the rows of a table whose files, by path or content, are not among the proof's images."""
    files = {(proof.table.root / name).resolve() for name in proof.frame["file_name"]}
    is_proof = table.frame["file_name"].map(lambda name: (table.root / name).resolve() in files).astype(bool)
    if "content" in table.frame and "content" in proof.frame:
        is_proof |= table.frame["content"].isin(proof.frame["content"].dropna())
    return table.frame[~is_proof].reset_index(drop=True)


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return rows spread over the classes: one of each in random order, then a second one, and so on."""
    ordered = frame.sort_values(["label", "file_name"], kind="stable")
    shuffled = ordered.iloc[np.random.default_rng(SEED).permutation(len(ordered))]
    turn = shuffled.groupby("label", sort=False).cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:count]].reset_index(drop=True)


def _pixels(table: Table, frame: pd.DataFrame, preprocess: Preprocess, title: str, progress: Progress) -> Pixels:
    """Return the images of rows, (N, H, W, 3) uint8."""
    parts = []
    with progress(title, len(frame)) as advance:
        images = table_images(table, frame, preprocess)
        for pixels, _ in batches(images, InOrder(len(frame), BATCH, rank=0, world=1), 0):
            parts.append(pixels.permute(0, 2, 3, 1).contiguous().numpy())
            advance(len(pixels))
    return np.concatenate(parts)
