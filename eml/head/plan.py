"""How the class head goes over its classes for a batch, and what memory that takes."""

import math
from dataclasses import dataclass

from eml.head.modes import ACCELERATOR, CPU, Dense, Mode, Sampled, Tiled
from eml.units import MIB


@dataclass(frozen=True)
class Plan:
    """num_classes: C. here: of those, how many a process has, rounded up. compared: of these, how many in a step. tile:
    of these, how many at once; None: all. kept: of how many the cosines are kept for the backward pass. entry: bytes of
    a class's cosines to one embedding. batch_size: of all processes together.
    """

    batch_size: int
    num_classes: int
    here: int
    compared: int
    tile: int | None
    kept: int
    entry: int

    def __str__(self) -> str:
        """A line to show."""
        text = f"class head: {self.num_classes:,} classes"
        if self.here < self.num_classes:
            text += f", {self.here:,} of them in each process"
        if self.compared < self.here:
            text += f", {self.compared:,} of {'those' if self.here < self.num_classes else 'them'} sampled per step"
        if self.tile is None:
            return f"{text}, compared all at once"
        kept = min(1.0, self.kept / self.compared)
        return f"{text}, compared {self.tile:,} at a time, {kept:.0%} of the cosines kept for the backward pass"

    def work(self) -> int:
        """Bytes that a step holds besides class weights, gradient and optimizer state: an estimate.

        Whole matrices: about six. Tiles: what is kept, and about eight matrices of a tile.
        """
        classes = 6 * self.compared if self.tile is None else min(self.compared, self.kept) + 8 * self.tile
        return self.batch_size * self.entry * classes


def plan_of(
    mode: Mode,
    batch_size: int,
    num_classes: int,
    centers: int,
    embedding_size: int,
    *,
    bytes_each: int,
    on_cpu: bool,
    world: int = 1,
) -> Plan:
    """The plan of a mode; a sampled one must be given as something else where all classes count, as in eval mode.

    bytes_each: of a number of the class weights; cosines have 4 at least. world: processes that share the classes; the
    plan is that of the largest part, so that all take the same way.
    """
    limits, entry = CPU if on_cpu else ACCELERATOR, max(4, bytes_each) * centers
    here = compared = -(-num_classes // world)
    if isinstance(mode, Sampled):
        compared = min(here, -(-max(math.ceil(mode.fraction * num_classes), batch_size) // world))
    small = batch_size * compared * centers <= limits.dense
    if isinstance(mode, Dense) or (small and not isinstance(mode, Tiled)):
        return Plan(batch_size, num_classes, here, compared, None, compared, entry)
    mode = mode if isinstance(mode, Tiled) else Tiled()
    tile = mode.tile or max(64, limits.tile // (entry * (batch_size + embedding_size)) // 64 * 64)
    memory = limits.kept if mode.memory is None else int(mode.memory * MIB)
    kept = memory // (entry * max(1, batch_size)) // tile * tile
    return Plan(batch_size, num_classes, here, compared, tile, kept, entry)
