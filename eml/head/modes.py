"""Modes of the class head, the ways to go over its classes; without torch, so that a bad config fails early."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from eml.config import Choice
from eml.head.row_optimizers import RowOptimizer
from eml.head.row_optimizers.adamw import AdamW
from eml.units import MIB


@dataclass(frozen=True)
class Limits:
    """Limits that suit a kind of device.

    dense: entries of B×C above which tiles are faster than whole matrices. tile: bytes of a tile's class weights and
    cosines. kept: bytes of cosines kept for the backward pass.
    """

    dense: int
    tile: int
    kept: int


CPU = Limits(dense=2**20, tile=3 * 2**19, kept=24 * MIB)  # measured; a core's cache holds a tile
ACCELERATOR = Limits(dense=2**24, tile=128 * MIB, kept=1024 * MIB)  # not measured; large enough to keep it busy


class Mode(Choice):
    """The classes that a batch is compared with at once. All modes but `sampled` give the same result."""


class Auto(Mode):
    """Dense where B×C is small, otherwise tiled."""

    type: Literal["auto"] = "auto"


class Dense(Mode):
    """All classes at once, in matrices B×C: the plain way, and the reference for the other modes."""

    type: Literal["dense"] = "dense"


class Tiled(Mode):
    """Tile by tile with a running log-sum-exp: exact, in bounded memory."""

    type: Literal["tiled"] = "tiled"
    memory: float | None = Field(
        None,
        ge=0,
        description="for cosines kept for the backward pass (MiB), the rest is computed twice; null: 24 on a CPU, "
        "1024 elsewhere",
    )
    tile: int | None = Field(None, ge=1, description="classes at once; null: as many as a CPU's cache holds")


class Sampled(Mode):
    """A random share of the classes per step, which always includes the batch's. An 2021, arXiv:2010.05222.

    Where processes share the classes, `sample: shard` is the paper's way: each process keeps the batch's classes that
    it holds and adds random ones up to ⌈fraction·(its classes)⌉. All processes then compare equally many classes, and
    the result depends on the number of processes; with one process it equals that of `whole`.
    Outside training all classes count. The head has its own optimizer for the class weights, which knows the rows that
    a step used; learning rate and weight decay are those of the config's `optimizer`.
    """

    type: Literal["sampled"] = "sampled"
    fraction: float = Field(0.1, gt=0, le=1, description="share of the classes in a step")
    sample: Literal["whole", "shard"] = Field(
        "whole",
        description="whole: drawn from all classes, the same for any number of processes; shard: each process draws "
        "equally many of its own, so the sample depends on the number of processes",
    )
    unsampled: Literal["frozen", "decayed"] = Field(
        "frozen",
        description="frozen: rows outside the sample and their optimizer state do not change; decayed: momentum and "
        "weight decay move all rows in every step, as in Partial FC v2 (arXiv:2203.15565)",
    )
    correction: bool = Field(
        False,
        description="weigh sampled classes by the inverse of their probability, which makes sums over classes unbiased",
    )
    optimizer: RowOptimizer = Field(AdamW(), description="of the class weights, instead of the config's optimizer")
