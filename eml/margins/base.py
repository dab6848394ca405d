"""What a margin is: a function of the target cosines, never of the B×C matrix of all cosines."""

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
    Field(description="what the target becomes where the shifted angle passes π and the cosine would rise again"),
]
Gradient = Annotated[
    Literal["exact", "detached"],
    Field(description="exact: through the formula; detached: its offset from the cosine is a constant"),
]
State = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Context:
    """What a margin may read besides the cosines it is given; B is the batch.

    cosine_y: (B,) cosine between each embedding and its own class, before any margin.
    m: the margin in force where it is not the field `m` (scheduled, per class): one number, or (B,) one per row.
    norms: (B,) lengths of the embeddings as they came, with their gradient.
    draws: (B,) standard normal numbers, one per sample and label; None outside training.
    ranks: (B,) place of each sample when the batch is sorted by cosine_y, the smallest at 0.
    state: the margin's buffers, already updated by `before`.
    """

    cosine_y: Tensor
    m: float | Tensor | None = None
    norms: Tensor | None = None
    draws: Tensor | None = None
    ranks: Tensor | None = None
    state: State = field(default_factory=dict)

    def margin(self, default: float) -> float | Tensor:
        """The margin in force: `m`, or the margin's own number."""
        return default if self.m is None else self.m


@dataclass(frozen=True)
class Statistics:
    """What a margin's state is updated from, before it is used; all detached. With mixup one for both labels.

    cosine_y: (B,) target cosines without margin (with mixup their mean, weighted as the labels are).
    norms: (B,) lengths of the embeddings.
    others: (B,) ln Σ exp(scale·cosine) over the classes that are no target; only if `inputs` asks for it.
    """

    cosine_y: Tensor
    norms: Tensor
    others: Tensor | None = None


class Margin(Choice):
    """A margin over a softmax of cosines: replaces the target's cosine, and nothing else unless it says so.

    A member is a file of this folder with a literal `type` equal to the file's name, its own fields, `formula`, `paper`
    and `target`. The other methods are hooks that most members leave alone.
    """

    formula: ClassVar[str]
    """The target and, where they change, the other cosines, in a line; c = cos θ, c_j another class's."""
    paper: ClassVar[str]
    """First author, year, and arXiv id or venue; the docstring cites it too."""
    normalised: ClassVar[bool] = True
    """True: works on cosines times the scale. False: on plain dot products plus a learned bias, without scale."""
    paper_scale: ClassVar[float | Literal["auto"]] = 64.0
    """The scale that the paper (or its released code) trains with; auto: √2·ln(C−1)."""
    reduction: ClassVar[Literal["softmax", "bce", "proxy"]] = "softmax"
    """softmax: over the classes of a row. bce: one binary problem per class. proxy: over the rows of a class."""
    inputs: ClassVar[frozenset[Literal["draws", "ranks", "others", "norms"]]] = frozenset()
    """What has to be computed for it: draws and ranks of the Context, others of the Statistics; norms: it looks at the
    lengths of the embeddings, which no neck should have evened out."""
    neutral: ClassVar[Mapping[str, object] | None] = None
    """Fields with which it equals the normalised softmax at the same scale; None if there are none."""

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """The target's cosine with the margin applied. cosine: (B,), returns (B,)."""
        raise NotImplementedError

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """The other classes' cosines as the loss sees them, elementwise given the row. cosine: (B, c), c classes."""
        return cosine

    def pool(self, cosine: Tensor) -> Tensor:
        """From the cosines to a class's centres to the class's: the largest. (B, c, K) → (B, c)."""
        return cosine.max(-1).values

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Buffers that the class head keeps, saves and restores. scale: the head's."""
        return {}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """The buffers after this step's update, made before the step uses them; only called in training."""
        return {}

    def scale(self, scale: float | Tensor, context: Context) -> float | Tensor:
        """From the head's scale to the one in force: a number, or (B,) one per row."""
        return scale

    def own_scale(self) -> bool:
        """Whether `scale` gives another than the head's."""
        return not self.normalised

    def penalty(self, context: Context) -> Tensor | None:
        """(B,) added to the losses."""
        return None

    def row_penalty(self, unit_rows: Tensor, num_classes: int) -> Tensor | None:
        """Added to the loss: a sum over the given classes of num_classes. unit_rows: (c, K, D)."""
        return None

    def loss_factor(self, scale: float | Tensor) -> float | Tensor:
        """What the loss is multiplied by."""
        return 1.0

    def initial_bias(self, num_classes: int, scale: float) -> float:
        """bce: where the learned number that is added to every logit begins."""
        return 0.0

    def balance(self) -> tuple[float, float]:
        """bce: weights of the positive term and of each negative one."""
        return 1.0, 1.0

    def prototypes(self) -> Prototypes | None:
        """How class weights are mixed with remembered embeddings; None: not at all."""
        return None


class Prototypes(Strict):
    """Class weights mixed with the class's latest embedding. Deng 2021, CVPR, "Variational Prototype Learning".

    norm((1−λ)·ŵ + λ·q), where λ is `share` once `start` steps are over and if the class was seen in the last `window`
    steps, else 0. Deviation: a class that was never seen has no prototype to inject (the released code injects random
    ones if start < window).
    """

    share: float = Field(0.15, ge=0, lt=1, description="weight λ of the remembered embedding")
    window: int = Field(200, ge=1, description="how long an embedding is remembered (steps)")
    start: int = Field(8000, ge=0, description="steps before the first use")

    def initial_state(self, num_classes: int, embedding_size: int) -> dict[str, Tensor]:
        """queue: (C, D) unit rows; last: (C,) step that wrote the row, 0 never; steps: taken so far."""
        import torch

        return {
            "queue": torch.zeros(num_classes, embedding_size),
            "last": torch.zeros(num_classes, dtype=torch.int64),
            "steps": torch.zeros((), dtype=torch.int64),
        }

    def rows(self, unit_rows: Tensor, ids: Tensor | slice, state: State) -> Tensor:
        """Unit rows with the memory mixed in. unit_rows: (c, D) or (c, K, D), the rows `ids` of all class weights."""
        last, steps = state["last"][ids], state["steps"]
        fresh = (steps > self.start) & (last > 0) & (steps - last <= self.window)
        share = self.share * fresh.to(unit_rows.dtype).view(-1, *[1] * (unit_rows.ndim - 1))
        queue = state["queue"][ids].to(unit_rows.dtype)
        mixed = (1 - share) * unit_rows + share * (queue if unit_rows.ndim == 2 else queue.unsqueeze(1))
        return to_unit(mixed)

    def after(self, unit_embeddings: Tensor, labels: Tensor, state: State) -> None:
        """Write the batch into the memory; of several embeddings of a class the last stays. (B, D), (B,)."""
        order = labels.new_zeros(len(state["last"])).sub_(1)
        order.scatter_reduce_(0, labels, labels.new_ones(len(labels)).cumsum(0) - 1, "amax")
        seen = (order >= 0).nonzero().squeeze(1)
        state["queue"][seen] = unit_embeddings.detach()[order[seen]].to(state["queue"].dtype)
        state["last"][seen] = state["steps"]


def to_unit(rows: Tensor) -> Tensor:
    """Rows divided by their length; one shorter than 1e-12 becomes zeros and gets no gradient. rows: (…, D)."""
    import torch

    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    # Zeros are put into the lengths, not into the rows: no second copy of them. NaN stays NaN.
    return rows * torch.where(length <= 1e-12, torch.zeros_like(length), 1 / length.clamp_min(1e-12))


def sine(cosine: Tensor) -> Tensor:
    """√(1−c²) with a finite gradient at c = ±1.

    Written as (1−c)(1+c), which keeps its digits near ±1, and held above the dtype's epsilon: inside that
    (θ < 3.5e-4 in float32) the gradient is 0 instead of infinite.
    """
    import torch

    return ((1 - cosine) * (1 + cosine)).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()


def angle(cosine: Tensor) -> Tensor:
    """Arc cosine by atan2, in radians: exact in value and finite in gradient up to c = ±1, as `sine` is."""
    import torch

    return torch.atan2(sine(cosine), cosine)


def per_row(value: float | Tensor) -> float | Tensor:
    """(B,) → (B, 1), so that it goes with (B, c); a number stays one."""
    return value if isinstance(value, int | float) or value.ndim == 0 else value.unsqueeze(1)


def stepped_cosine(total: Tensor) -> Tensor:
    """(−1)^k·cos x − 2k with k = ⌊x/π⌋: cos x carried on so that it falls for ever. Liu 2017, arXiv:1704.08063, eq. 7.

    total: angles x in radians; continuous with its slope at every multiple of π.
    """
    k = (total.detach() / math.pi).floor().clamp_min(0)
    return (1 - 2 * k.remainder(2)) * total.cos() - 2 * k


def shifted_cosine(cosine: Tensor, m: float | Tensor, past_pi: PastPi) -> Tensor:
    """cos(θ+m), and past θ = π−m, where that would rise again, what `past_pi` says.

    smooth: −cos(θ+m)−2. linear: cos θ − m·sin m. none: the bare formula. easy: the margin only where cos θ > 0.
    cosine: (B,); m: radians, one number or (B,); a negative m has no such place.
    """
    m = cosine.new_tensor(m) if isinstance(m, int | float) else m
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
    """`adjusted` with its own gradient (exact), or with that of `cosine`, ∂φ/∂c = 1 (detached)."""
    return adjusted if gradient == "exact" else cosine + (adjusted - cosine).detach()


def elastic(context: Context, m: float | Tensor, sigma: float, *, plus: bool) -> float | Tensor:
    """Margins m + σ·draw: one per row, in the order drawn or (plus) the larger the smaller the row's cosine."""
    if context.draws is None:
        return m
    draws = context.draws
    if plus:
        assert context.ranks is not None
        draws = draws.sort(descending=True).values[context.ranks]
    return m + sigma * draws
