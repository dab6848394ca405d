"""The way the class head goes over its classes for a batch, and the memory of it."""

import math
from dataclasses import dataclass

from eml.head.modes import ACCELERATOR, CPU, Dense, Mode, Sampled, Tiled
from eml.units import MIB


@dataclass(frozen=True)
class ClassPlan:
    """The way the class head goes over its classes for a batch.

    batch_size: of all processes together. num_classes: C. here: number of them in a process, rounded up. compared:
    number of those compared in a step. tile: number of those compared at once; None for all. kept: number of classes
    whose cosines are kept for the backward pass. entry: bytes of a class's cosines to one embedding. texts: most class
    texts that are embedded in a step, in place of class weights; 0 where there are class weights.
    """

    batch_size: int
    num_classes: int
    here: int
    compared: int
    tile: int | None
    kept: int
    entry: int
    texts: int = 0

    def __str__(self) -> str:
        """Return a line to show to the user."""
        text = f"class head: {self.num_classes:,} classes"
        if self.here < self.num_classes:
            text += f", {self.here:,} of them in each process"
        if self.texts:
            text += f", up to {self.texts:,} {'text' if self.texts == 1 else 'texts'} embedded per step"
        elif self.compared < self.here:
            text += f", {self.compared:,} of {'those' if self.here < self.num_classes else 'them'} sampled per step"
        if self.tile is None:
            return f"{text}, compared all at once"
        kept = min(1.0, self.kept / self.compared)
        return f"{text}, compared {self.tile:,} at a time, {kept:.0%} of the cosines kept for the backward pass"

    def work(self) -> int:
        """Estimate the bytes that a step holds besides class weights, gradient and optimizer state.

        About six whole matrices, or the kept cosines and about eight matrices of a tile.
        """
        classes = 6 * self.compared if self.tile is None else min(self.compared, self.kept) + 8 * self.tile
        return self.batch_size * self.entry * classes


def make_plan(
    mode: Mode,
    batch_size: int,
    num_classes: int,
    centers: int,
    embedding_size: int,
    *,
    number_bytes: int,
    on_cpu: bool,
    world: int = 1,
    most: int | None = None,
    texts: int = 0,
) -> ClassPlan:
    """Return the plan of a mode. Where all classes count, as in eval mode, do not pass a `Sampled` one.

    Args:
        mode: Of the head.
        batch_size: Of all processes together.
        num_classes: C.
        centers: K, centres per class.
        embedding_size: D.
        number_bytes: Bytes of a number in the class weights; cosines have at least 4.
        on_cpu: Use the limits of a CPU.
        world: Number of processes that share the classes. The plan is that of the largest part, so that all agree.
        most: Classes that are compared in a step in all processes; None: as the mode says.
        texts: Most class texts that are embedded in a step.
    """
    limits, entry = CPU if on_cpu else ACCELERATOR, max(4, number_bytes) * centers
    here = compared = -(-num_classes // world)
    if isinstance(mode, Sampled):
        compared = min(here, -(-max(math.ceil(mode.fraction * num_classes), batch_size) // world))
    if most is not None:  # perhaps all of them in one process
        compared = min(compared, most)
    small = batch_size * compared * centers <= limits.dense
    if isinstance(mode, Dense) or (small and not isinstance(mode, Tiled)):
        return ClassPlan(batch_size, num_classes, here, compared, None, compared, entry, texts)
    mode = mode if isinstance(mode, Tiled) else Tiled()
    tile = mode.tile or max(64, limits.tile // (entry * (batch_size + embedding_size)) // 64 * 64)
    memory = limits.kept if mode.memory is None else int(mode.memory * MIB)
    kept = memory // (entry * max(1, batch_size)) // tile * tile
    return ClassPlan(batch_size, num_classes, here, compared, tile, kept, entry, texts)
