"""The base of the margins: functions of the target cosines, never of the B×C matrix of all cosines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from eml.config import Choice, Strict

if TYPE_CHECKING:
    from torch import Tensor

PastPi = Annotated[
    Literal["smooth", "linear", "none", "easy"],
    Field(description="value of the target where the shifted angle exceeds π and the cosine would rise again"),
]
Gradient = Annotated[
    Literal["exact", "detached"],
    Field(description="exact: of the formula; detached: the formula's offset from the cosine is a constant"),
]
State = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Context:
    """Values that a margin may read besides the cosines; B is the batch.

    Attributes:
        cosine_y: (B,) cosine between each embedding and its own class, before any margin.
        m: The current margin where it is not the field `m` (scheduled, or per class): one number, or (B,).
        norms: (B,) lengths of the embeddings before normalisation, with their gradient.
        draws: (B,) standard normal numbers, one per sample and label; None outside training.
        ranks: (B,) rank of each sample in the batch by cosine_y, 0 for the smallest.
        state: The margin's buffers, already updated by `before`.
    """

    cosine_y: Tensor
    m: float | Tensor | None = None
    norms: Tensor | None = None
    draws: Tensor | None = None
    ranks: Tensor | None = None
    state: State = field(default_factory=dict)

    def margin(self, default: float) -> float | Tensor:
        """Return the current margin: `m`, or the margin's own number `default`."""
        return default if self.m is None else self.m


@dataclass(frozen=True)
class Statistics:
    """Values that a margin's state is updated from, before the state is used; all detached.

    Attributes:
        cosine_y: (B,) target cosines without margin; with mixup the mean over both labels by their weights.
        norms: (B,) lengths of the embeddings.
        negatives: (B,) ln Σ exp(scale·cosine) over the classes that are not the target; only if `inputs` has it.
    """

    cosine_y: Tensor
    norms: Tensor
    negatives: Tensor | None = None


class Margin(Choice):
    """A margin over a softmax of cosines. It changes the target's cosine and, if it declares so, the other cosines.

    A member is a file of this folder with a literal `type` equal to the file's name, its own fields, `formula`, `paper`
    and `target`. The other methods are hooks that most members do not override.
    """

    formula: ClassVar[str]
    """The target and, if changed, the other cosines, in a line; c = cos θ, c_j is the cosine to another class."""
    paper: ClassVar[str]
    """First author, year, and arXiv id or venue; the docstring cites it too."""
    normalised: ClassVar[bool] = True
    """True: logits are scaled cosines. False: they are dot products plus a learned bias, without scale."""
    paper_scale: ClassVar[float | Literal["auto"]] = 64.0
    """The scale that the paper (or its released code) trains with; auto: √2·ln(C−1)."""
    reduction: ClassVar[Literal["softmax", "bce", "proxy"]] = "softmax"
    """softmax: over the classes of a row. bce: one binary problem per class. proxy: over the rows of a class."""
    inputs: ClassVar[frozenset[Literal["draws", "ranks", "negatives", "norms"]]] = frozenset()
    """Values that the head must compute for it: draws and ranks of the Context, negatives of the Statistics. norms: the
    margin uses the lengths of the embeddings, so no neck may normalise them."""
    neutral: ClassVar[Mapping[str, object] | None] = None
    """Fields that make it the normalised softmax at the same scale; None if there are none."""

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the target's cosine with the margin applied. (B,) → (B,)."""
        raise NotImplementedError

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the other classes' cosines as the loss sees them, elementwise given the row. (B, c) → (B, c)."""
        return cosine

    def pool(self, cosine: Tensor) -> Tensor:
        """Return the cosine to a class from those to its centres: the largest. (B, c, K) → (B, c)."""
        return cosine.max(-1).values

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Return the buffers that the class head keeps, saves and restores. scale: the head's."""
        return {}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """Return the buffers updated for this step, before the step uses them; called only in training."""
        return {}

    def scale(self, scale: float | Tensor, context: Context) -> float | Tensor:
        """Return the current scale from the head's: one number, or (B,)."""
        return scale

    def own_scale(self) -> bool:
        """Return whether `scale` differs from the head's."""
        return not self.normalised

    def penalty(self, context: Context) -> Tensor | None:
        """Return the (B,) penalties added to the losses, None for none."""
        return None

    def row_penalty(self, unit_rows: Tensor, num_classes: int) -> Tensor | None:
        """Return the penalty () of c of the num_classes classes, summed and added to the loss. unit_rows: (c, K, D)."""
        return None

    def loss_factor(self, scale: float | Tensor) -> float | Tensor:
        """Return the factor of the loss."""
        return 1.0

    def initial_bias(self, num_classes: int, scale: float) -> float:
        """Return, for bce, the initial value of the learned number that is added to every logit."""
        return 0.0

    def balance(self) -> tuple[float, float]:
        """Return, for bce, the weights of the positive term and of each negative term."""
        return 1.0, 1.0

    def prototypes(self) -> Prototypes | None:
        """Return how class weights are mixed with remembered embeddings; None for no memory."""
        return None


class Prototypes(Strict):
    """Class weights mixed with the class's latest embedding. Deng 2021, CVPR, "Variational Prototype Learning".

    norm((1−λ)·ŵ + λ·q), where λ is `share` after `start` steps if the class was seen in the last `window` steps, else
    0. Deviation: a class that was never seen is not mixed (the released code mixes in random prototypes if
    start < window).
    """

    share: float = Field(0.15, ge=0, lt=1, description="weight λ of the remembered embedding")
    window: int = Field(200, ge=1, description="how long an embedding is used (steps)")
    start: int = Field(8000, ge=0, description="steps without memory at the beginning")

    def initial_state(self, num_classes: int, embedding_size: int) -> dict[str, Tensor]:
        """Return `queue`, (C, D) unit rows; `last`, (C,) step that wrote the row, 0 for never; `steps`, () so far."""
        import torch

        return {
            "queue": torch.zeros(num_classes, embedding_size),
            "last": torch.zeros(num_classes, dtype=torch.int64),
            "steps": torch.zeros((), dtype=torch.int64),
        }

    def rows(self, unit_rows: Tensor, ids: Tensor | slice, state: State) -> Tensor:
        """Return unit rows with the memory mixed in. unit_rows: (c, D) or (c, K, D) of the classes `ids`."""
        last, steps = state["last"][ids], state["steps"]
        fresh = (steps > self.start) & (last > 0) & (steps - last <= self.window)
        share = self.share * fresh.to(unit_rows.dtype).view(-1, *[1] * (unit_rows.ndim - 1))
        queue = state["queue"][ids].to(unit_rows.dtype)
        mixed = (1 - share) * unit_rows + share * (queue if unit_rows.ndim == 2 else queue.unsqueeze(1))
        return to_unit(mixed)

    def after(self, unit_embeddings: Tensor, labels: Tensor, state: State) -> None:
        """Write the batch into the memory, for each class its last embedding. (B, D); labels (B,), −1 for none.

        All rows are written, so that their number need not be known; those of one class, or of none, alike.
        """
        queue, last = state["queue"], state["last"]
        if not len(last):
            return
        classes, positions = labels.clamp_min(0), labels.new_ones(len(labels)).cumsum(0) - 1
        order = labels.new_full((len(last),), -1)
        order.scatter_reduce_(0, classes, positions.where(labels >= 0, -1), "amax")
        source = order[classes]  # −1 where none of the batch is of the class
        seen, embeddings = source >= 0, unit_embeddings.detach()[source.clamp_min(0)].to(queue.dtype)
        queue.index_copy_(0, classes, embeddings.where(seen.unsqueeze(1), queue[classes]))
        last.index_copy_(0, classes, state["steps"].where(seen, last[classes]))


def to_unit(rows: Tensor) -> Tensor:
    """Return rows (…, D) divided by their length, see `inverse_length`."""
    import torch

    # Zeros go into the lengths, not into the rows, which saves a copy of the rows.
    return rows * inverse_length(torch.linalg.vector_norm(rows, dim=-1, keepdim=True))


def inverse_length(length: Tensor) -> Tensor:
    """Return 1/length; 0 for a length up to 1e-12, so that such a row becomes zeros and gets no gradient.

    NaN for NaN and for an infinite length, as of a float32 row beyond 1.8e19, whose squares overflow: training then
    stops with an error, where 1/∞ = 0 would let it stand still.
    """
    import torch

    inverse = 1 / length.clamp_min(1e-12) + 0 * length  # 0 · ∞ is NaN
    return torch.where(length <= 1e-12, torch.zeros_like(length), inverse)


def sine(cosine: Tensor) -> Tensor:
    """√(1−c²) with a finite gradient at c = ±1.

    Written as (1−c)(1+c), which is precise near ±1, and clamped to the dtype's epsilon. Below it (θ < 3.5e-4 in
    float32) the gradient is 0 instead of infinite.
    """
    import torch

    return ((1 - cosine) * (1 + cosine)).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()


def angle(cosine: Tensor) -> Tensor:
    """Compute the arc cosine in radians by atan2: exact, with a finite gradient up to c = ±1, like `sine`."""
    import torch

    return torch.atan2(sine(cosine), cosine)


def per_row(value: float | Tensor) -> float | Tensor:
    """(B,) → (B, 1), to broadcast with (B, c); a number stays a number."""
    return value if isinstance(value, int | float) or value.ndim == 0 else value.unsqueeze(1)


def stepped_cosine(total: Tensor) -> Tensor:
    """(−1)^k·cos x − 2k, k = ⌊x/π⌋: cos x continued so that it always falls. Liu 2017, arXiv:1704.08063, eq. 7.

    Value and slope are continuous at every multiple of π. total: angles x in radians.
    """
    k = (total.detach() / math.pi).floor().clamp_min(0)
    return (1 - 2 * k.remainder(2)) * total.cos() - 2 * k


def shifted_cosine(cosine: Tensor, m: float | Tensor, past_pi: PastPi) -> Tensor:
    """cos(θ+m), continued by `past_pi` beyond θ = π−m, where the cosine would rise again.

    smooth: −cos(θ+m)−2. linear: cos θ − m·sin m. none: the bare formula. easy: the margin only where cos θ > 0.
    cosine: (B,); m: radians, one number or (B,). A negative m is never continued.
    """
    m = cosine.new_full((), m) if isinstance(m, int | float) else m
    shifted = cosine * m.cos() - sine(cosine) * m.sin()
    over = (cosine < -m.cos()) & (m > 0)  # θ > π−m
    match past_pi:
        case "smooth":
            return (-shifted - 2).where(over, shifted)
        case "linear":
            return (cosine - m * m.sin()).where(over, shifted)
        case "easy":
            return shifted.where(cosine > 0, cosine)
        case "none":
            return shifted


def with_gradient(gradient: Gradient, cosine: Tensor, adjusted: Tensor) -> Tensor:
    """Return `adjusted` with its own gradient (exact), or with that of `cosine`, ∂φ/∂c = 1 (detached)."""
    return adjusted if gradient == "exact" else cosine + (adjusted - cosine).detach()


def elastic(context: Context, m: float | Tensor, sigma: float, *, plus: bool) -> float | Tensor:
    """m + σ·draw for each row, in the order drawn or, with `plus`, larger for rows with smaller cosines."""
    if context.draws is None:
        return m
    draws = context.draws
    if plus:
        assert context.ranks is not None
        draws = draws.sort(descending=True).values[context.ranks]
    return m + sigma * draws
