"""How the class head goes over its classes; no torch, so that a bad config fails before it loads."""

from typing import Literal

from pydantic import Field

from eml.config import Choice
from eml.models.row_optimizers import RowOptimizer
from eml.models.row_optimizers.adamw import AdamW

MIB = 2**20
DENSE_LIMIT = 2**20  # entries of B×C above which tiles are quicker than whole matrices
TILE_BYTES = 3 * 2**19  # of a tile's class weights and cosines: what a core's cache holds


class Mode(Choice):
    """Which classes a batch is compared with at once. All but `sampled` give the same result."""


class Auto(Mode):
    """dense where B×C is small, else tiled."""

    type: Literal["auto"] = "auto"


class Dense(Mode):
    """All at once, in matrices B×C: the plain way, and the reference of the others."""

    type: Literal["dense"] = "dense"


class Tiled(Mode):
    """Tile by tile with a running log-sum-exp, in bounded memory; exact."""

    type: Literal["tiled"] = "tiled"
    memory: float = Field(
        48.0, gt=0, description="for cosines kept for the backward pass (MiB); the others are computed twice"
    )
    tile: int | None = Field(None, ge=1, description="classes at once; null: what a processor's cache holds")


class Sampled(Mode):
    """A random share of the classes per step, those of the batch always in. An 2021, arXiv:2010.05222.

    Outside training all classes count. Class weights are trained by an optimizer of the head's own, which knows which
    rows a step touched; rate and weight decay are those of the config's `optimizer`.
    """

    type: Literal["sampled"] = "sampled"
    fraction: float = Field(0.1, gt=0, le=1, description="share of the classes in a step")
    unsampled: Literal["frozen", "decayed"] = Field(
        "frozen",
        description="frozen: rows that a step does not sample, and their optimizer state, stay as they are; decayed: "
        "momentum and weight decay move all rows in every step, as in Partial FC v2 (arXiv:2203.15565)",
    )
    correction: bool = Field(
        False, description="weigh the sampled classes by the inverse of their probability, so that sums are unbiased"
    )
    optimizer: RowOptimizer = Field(AdamW(), description="of the class weights, in the place of the config's optimizer")
