"""How the class head goes over its classes; no torch, so that a bad config fails before it loads."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from eml.config import Choice
from eml.head.row_optimizers import RowOptimizer
from eml.head.row_optimizers.adamw import AdamW
from eml.units import MIB


@dataclass(frozen=True)
class Limits:
    """What suits a kind of device.

    dense: entries of B×C above which tiles are quicker than whole matrices. tile: bytes of a tile's class weights and
    cosines. kept: bytes of cosines kept for the backward pass.
    """

    dense: int
    tile: int
    kept: int


CPU = Limits(dense=2**20, tile=3 * 2**19, kept=24 * MIB)  # measured; a core's cache holds a tile
ACCELERATOR = Limits(dense=2**24, tile=128 * MIB, kept=1024 * MIB)  # not measured; large enough to keep it busy


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
    memory: float | None = Field(
        None,
        ge=0,
        description="for cosines kept for the backward pass (MiB), the others are computed twice; null: 24 on a CPU, "
        "1024 elsewhere",
    )
    tile: int | None = Field(None, ge=1, description="classes at once; null: as many as a CPU's cache holds")


class Sampled(Mode):
    """A random share of the classes per step, those of the batch always in. An 2021, arXiv:2010.05222.

    Where processes share the classes, `sample: shard` is the paper's way: each keeps those of the batch that it holds
    and fills up at random to ⌈fraction·(its classes)⌉. All then hold and compare equally many, and the result depends
    on how many processes there are; with one it is that of `whole`.
    Outside training all classes count. Class weights are trained by an optimizer of the head's own, which knows which
    rows a step touched; rate and weight decay are those of the config's `optimizer`.
    """

    type: Literal["sampled"] = "sampled"
    fraction: float = Field(0.1, gt=0, le=1, description="share of the classes in a step")
    sample: Literal["whole", "shard"] = Field(
        "whole",
        description="whole: drawn from all classes, the same however many processes share them; shard: each process "
        "draws from its own, equally many, so that the sample depends on the number of processes",
    )
    unsampled: Literal["frozen", "decayed"] = Field(
        "frozen",
        description="frozen: rows that a step does not sample, and their optimizer state, stay as they are; decayed: "
        "momentum and weight decay move all rows in every step, as in Partial FC v2 (arXiv:2203.15565)",
    )
    correction: bool = Field(
        False, description="weigh the sampled classes by the inverse of their probability, so that sums are unbiased"
    )
    optimizer: RowOptimizer = Field(AdamW(), description="of the class weights, in the place of the config's optimizer")
