"""The class head: owns the class weights, the normalisation, the scale and the reduction to per-sample terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from eml.errors import ConfigError
from eml.losses import Loss, Terms
from eml.margins import Context, Margin, Statistics
from eml.margins.base import per_row, to_unit
from eml.models.config import HeadConfig


@dataclass(frozen=True)
class _Cosines:
    """cosine: (B, C) to every class. targets: for each label of a sample, (B,) to its own. norms: (B,). rows: unit."""

    cosine: Tensor
    targets: list[Tensor]
    norms: Tensor
    embeddings: Tensor
    rows: Tensor


class ClassHead(nn.Module):
    """Class weights (C, D) or (C, K, D) and a margin: embeddings (B, D) and labels (B,) → per-sample Terms.

    Cosines and margins are computed in float32 with autocast off, in float64 if the embeddings are. The margin's state
    is kept in buffers: updated by each call in training mode, frozen in eval mode, where there are no random draws
    either. `progress` in [0, 1] is how far the training is, for a margin schedule. counts: pictures per class.
    class_weights: used as they are instead of weights of the head's own. dtype: of weights and state, torch's default
    unless given.
    Raises ConfigError when margin and config do not go together; ValueError when C < 2, or, on a call, when shapes or
    labels do not fit.
    """

    class_margins: Tensor | None
    loss_weights: Tensor | None

    def __init__(
        self,
        margin: Margin,
        num_classes: int,
        embedding_size: int,
        config: HeadConfig | None = None,
        *,
        counts: Sequence[int] | None = None,
        class_weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        config = config or HeadConfig()
        if num_classes < 2:
            raise ValueError(f"a class head needs at least 2 classes, got {num_classes}")
        if counts is not None and len(counts) != num_classes:
            raise ValueError(f"counts must be one per class, got {len(counts)} for {num_classes} classes")
        if problems := config.problems(margin, num_classes, counts):
            raise ConfigError(problems)
        self.margin, self.config, self.progress = margin, config, 1.0
        self.num_classes, self.embedding_size = num_classes, embedding_size
        self.first_scale = config.first_scale(margin, num_classes)
        dtype = dtype or torch.get_default_dtype()
        self._add_parameters(class_weights, dtype)
        self._add_state("margin", margin.initial_state(num_classes, self.first_scale), dtype)
        if "draws" in margin.inputs:
            seed = torch.randint(2**62, (), dtype=torch.int64)  # of its own: others draw from torch's, as loaders do
            self._add_state("draws", {"seed": seed, "count": torch.zeros_like(seed)}, dtype)
        self.memory = config.memory(margin)
        if self.memory is not None:
            self._add_state("memory", self.memory.initial_state(num_classes, embedding_size), dtype)
        by_class = config.class_margins.of(counts) if config.class_margins and counts else None
        weights = _loss_weights(counts, config.loss_weight_power) if config.loss_weight_power and counts else None
        for name, values in (("class_margins", by_class), ("loss_weights", weights)):
            self.register_buffer(name, None if values is None else torch.tensor(values, dtype=dtype), persistent=False)

    def _add_parameters(self, class_weights: Tensor | None, dtype: torch.dtype) -> None:
        def number(start: float) -> nn.Parameter:
            return nn.Parameter(torch.tensor(start, dtype=dtype))

        centers = max(self.config.centers, getattr(self.margin, "centers", 1))
        shape = (self.num_classes, *([centers] if centers > 1 else []), self.embedding_size)
        if class_weights is None:
            class_weights = nn.Parameter(torch.randn(shape, dtype=dtype) / math.sqrt(self.embedding_size))
        self.class_weights = class_weights
        learned = self.config.scale == "learned"
        self.log_scale = number(math.log(self.first_scale)) if learned else None
        self.bias = None if self.margin.normalised else nn.Parameter(torch.zeros(self.num_classes, dtype=dtype))
        start = self.margin.initial_bias(self.num_classes, self.first_scale)
        self.logit_bias = number(start) if self.margin.reduction == "bce" else None

    @property
    def scale(self) -> float:
        """The scale in force, where it is one number: the head's, or AdaCos's."""
        with torch.no_grad():
            return float(self.state().get("scale", self._scale()))

    def forward(self, embeddings: Tensor, labels: Tensor, *, draws: Tensor | None = None) -> Terms:
        """embeddings: (B, D), labels: (B,) int64 in [0, C). draws: (B,) to take instead of random ones."""
        return self._terms(embeddings, [labels], 1.0, [draws])[0]

    def mixed(self, embeddings: Tensor, labels: Tensor, labels_b: Tensor, share: float | Tensor) -> tuple[Terms, Terms]:
        """Terms for each of the two labels of mixed samples (mixup, cutmix), each with a margin of its own.

        share: weight of the first label in [0, 1], one number or (B,). The loss is `Loss.mixed` of the two.
        """
        what = f"{self.margin.reduction} loss" if self.margin.reduction != "softmax" else "memory of embeddings"
        if self.margin.reduction != "softmax" or self.memory is not None:
            raise ConfigError(f"mixup does not go with the {what} of margin {self.margin.type}")
        first, second = self._terms(embeddings, [labels, labels_b], share, [None, None])
        return first, second

    def logits(self, embeddings: Tensor, labels: Tensor, *, draws: Tensor | None = None) -> Tensor:
        """(B, C) logits after margin and scale, for study: updates no state, draws nothing."""
        self._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            found = self._cosines(embeddings, [labels])
            return self._adjusted(found, found.targets[0], labels, self._context(found, 0, labels, draws))[0]

    def state(self, kind: str = "margin") -> dict[str, Tensor]:
        """The buffers of the margin, of the `memory` of embeddings, or of the random `draws`, by name."""
        prefix = kind + "_"
        buffers = ((name, each) for name, each in self._buffers.items() if each is not None)
        return {name.removeprefix(prefix): each for name, each in buffers if name.startswith(prefix)}

    def _add_state(self, kind: str, state: dict[str, Tensor], dtype: torch.dtype) -> None:
        for name, value in state.items():
            self.register_buffer(f"{kind}_{name}", value.to(dtype if value.is_floating_point() else value.dtype))

    def _set_state(self, kind: str, state: dict[str, Tensor]) -> None:
        """New tensors in the buffers' place: the old ones may be in the graph of a step not yet gone back through."""
        for name, value in state.items():
            before = getattr(self, f"{kind}_{name}")
            setattr(self, f"{kind}_{name}", value.detach().to(before.dtype))

    def _terms(
        self, embeddings: Tensor, labels: list[Tensor], share: float | Tensor, draws: list[Tensor | None]
    ) -> list[Terms]:
        for each in labels:
            self._check(embeddings, each)
        with torch.autocast(embeddings.device.type, enabled=False):
            if self.training and self.memory is not None:
                self._set_state("memory", {"steps": self.state("memory")["steps"] + 1})
            found = self._cosines(embeddings, labels)
            if self.training:
                self._update(found, labels, share)
                draws = [self._drawn(len(embeddings)) if each is None else each for each in draws]
            terms = [
                self._reduced(found, index, each, self._context(found, index, each, draws[index]))
                for index, each in enumerate(labels)
            ]
            if self.training and self.memory is not None:
                self.memory.after(found.embeddings, labels[0], self.state("memory"))
        return terms

    def _cosines(self, embeddings: Tensor, labels: list[Tensor]) -> _Cosines:
        """Cosines; dot products plus bias for a margin that does not normalise."""
        precision = torch.promote_types(embeddings.dtype, torch.float32)
        x, rows = embeddings.to(precision), self.class_weights.to(precision)
        norms = torch.linalg.vector_norm(x, dim=1)
        if self.margin.normalised:
            x, rows = to_unit(x), to_unit(rows)
        if self.memory is not None:
            rows = self.memory.rows(rows, slice(None), self.state("memory"))
        cosine = x @ rows.flatten(0, -2).T
        # Row-wise, so that it is the same number however the classes are split up.
        targets = [(x.view(len(x), *[1] * (rows.ndim - 2), -1) * rows[each]).sum(-1) for each in labels]
        if rows.ndim == 3:
            cosine = self.margin.pool(cosine.unflatten(1, rows.shape[:2]))
            targets = [self.margin.pool(target.unsqueeze(1)).squeeze(1) for target in targets]
        if self.bias is not None:
            cosine = cosine + self.bias
            targets = [target + self.bias[each] for target, each in zip(targets, labels, strict=True)]
        return _Cosines(cosine, targets, norms, x, rows)

    def _update(self, found: _Cosines, labels: list[Tensor], share: float | Tensor) -> None:
        """The margin's state, once for all labels of the samples."""
        with torch.no_grad():
            targets = [target.detach() for target in found.targets]
            cosine_y = targets[0] if len(targets) == 1 else share * targets[0] + (1 - share) * targets[1]
            others = None
            if "others" in self.margin.inputs:
                scaled = self.scale * found.cosine.detach()
                others = scaled.scatter(1, torch.stack(labels, 1), -math.inf).logsumexp(1)
            statistics = Statistics(cosine_y, found.norms.detach(), others)
            self._set_state("margin", self.margin.before(statistics, self._margin_state(cosine_y.dtype)))

    def _margin_state(self, dtype: torch.dtype) -> dict[str, Tensor]:
        return {name: each.to(dtype) if each.is_floating_point() else each for name, each in self.state().items()}

    def _drawn(self, count: int) -> Tensor | None:
        """A pure function of the head's seed and of how often it has drawn, on the CPU: the same on every device."""
        if "draws" not in self.margin.inputs:
            return None
        state = self.state("draws")
        self._set_state("draws", {"count": state["count"] + 1})
        random = torch.Generator().manual_seed(int(state["seed"]) + int(state["count"]))
        return torch.randn(count, generator=random).to(self.class_weights.device)

    def _context(self, found: _Cosines, index: int, labels: Tensor, draws: Tensor | None) -> Context:
        cosine_y = found.targets[index]
        ranks = cosine_y.detach().argsort(stable=True).argsort() if "ranks" in self.margin.inputs else None
        return Context(
            cosine_y=cosine_y,
            m=self._margin_in_force(labels, cosine_y.dtype),
            norms=found.norms,
            draws=None if draws is None else draws.to(cosine_y.dtype),
            ranks=ranks,
            state=self._margin_state(cosine_y.dtype),
        )

    def _margin_in_force(self, labels: Tensor, dtype: torch.dtype) -> float | Tensor | None:
        """Scheduled, or (B,) per class; None where it is the margin's own number."""
        schedule = self.config.margin_schedule
        factor = 1.0 if schedule is None else schedule.factor(self.progress)
        if self.class_margins is not None:
            return factor * self.class_margins.to(dtype)[labels]
        return None if schedule is None else factor * float(self.margin.model_dump()["m"])

    def _scale(self) -> float | Tensor:
        return self.first_scale if self.log_scale is None else self.log_scale.exp()

    def _adjusted(self, found: _Cosines, cosine_y: Tensor, labels: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """(B, C) logits and (B,) target logits."""
        scale = self.margin.scale(self._scale(), context)
        target_logit = scale * self.margin.target(cosine_y, context)
        others = per_row(scale) * self.margin.negatives(found.cosine, context)
        if self.logit_bias is not None:
            target_logit, others = target_logit + self.logit_bias, others + self.logit_bias
        return others.scatter(1, labels.unsqueeze(1), target_logit.unsqueeze(1)), target_logit

    def _reduced(self, found: _Cosines, index: int, labels: Tensor, context: Context) -> Terms:
        cosine_y = found.targets[index]
        logits, target_logit = self._adjusted(found, cosine_y, labels, context)
        nearest = found.cosine.detach().scatter(1, labels.unsqueeze(1), -math.inf).amax(1)
        return Terms(
            target_logit=target_logit,
            log_sum_exp=logits.logsumexp(1),
            mean_logit=logits.mean(1),
            cosine_y=cosine_y.detach(),
            correct=cosine_y.detach() >= nearest,
            objective=self._objective(logits, target_logit, labels),
            factor=self.margin.loss_factor(self._scale()),
            weight=None if self.loss_weights is None else self.loss_weights.to(cosine_y.dtype)[labels],
            penalty=self._penalty(found.rows, context),
        )

    def _objective(self, logits: Tensor, target_logit: Tensor, labels: Tensor) -> Tensor | None:
        """(B,) losses of a margin that is no softmax over classes."""
        match self.margin.reduction:
            case "softmax":
                return None
            case "bce":
                positive, negative = self.margin.balance()
                # ln(1+e^x) as −ln σ(−x): torch's softplus is x above 20, an error of 2e-9
                others = (-logsigmoid(-logits)).scatter(1, labels.unsqueeze(1), 0.0).sum(1)
                return -positive * logsigmoid(target_logit) + negative * others
            case "proxy":
                return _proxy_loss(logits, target_logit, labels).expand(len(labels))

    def _penalty(self, rows: Tensor, context: Context) -> Tensor | None:
        own = self.margin.penalty(context)
        shared = self.margin.row_penalty(rows if rows.ndim == 3 else rows.unsqueeze(1), self.num_classes)
        if own is None or shared is None:
            return shared if own is None else own
        return own + shared

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        num_classes, size = self.num_classes, self.embedding_size
        if embeddings.ndim != 2 or embeddings.shape[1] != size:
            raise ValueError(f"embeddings must be (B, {size}), got {tuple(embeddings.shape)}")
        if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels must be ({len(embeddings)},) int64, got {tuple(labels.shape)} {labels.dtype}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
            raise ValueError(f"labels must be in [0, {num_classes}), got {int(labels.min())} to {int(labels.max())}")


def check_loss(margin: Margin, loss: Loss) -> None:
    """Raises ConfigError when the loss is one over a softmax, and the margin is none."""
    if margin.reduction != "softmax" and not loss.plain():
        raise ConfigError(
            f"loss: margin {margin.type} is a loss of its own ({margin.reduction}, no softmax over classes), "
            "with which neither smoothing nor another loss goes; set loss: {type: cross_entropy, label_smoothing: 0}"
        )


def smoothing_warning(head: ClassHead, loss: Loss) -> str | None:
    """A line to show where label smoothing opposes the margin: the gap it settles at is narrower than the margin.

    The margin is measured in cosine units at θ = 90°, where it takes full effect: cos 90° − target.
    """
    gap = loss.optimal_gap(head.num_classes, head.scale)
    if head.margin.reduction != "softmax" or not head.margin.normalised or math.isinf(gap):
        return None
    with torch.no_grad():
        right_angle = head.class_weights.new_zeros(1)
        context = Context(right_angle, norms=right_angle + 1, state=head.state())
        margin = -float(head.margin.target(right_angle, context))
    if gap >= margin:
        return None
    return (
        f"loss.label_smoothing: with {head.num_classes:,} classes at scale {head.scale:.4g} it holds the target cosine "
        f"{gap:.2f} above the others, and so opposes the margin, which asks for {margin:.2f}; use 0.02 or less, a "
        "smaller scale, or none"
    )


def _proxy_loss(logits: Tensor, target_logit: Tensor, labels: Tensor) -> Tensor:
    """Per class ln(1+Σ exp) over its own samples, in the mean of the classes seen, and over the others, of all."""
    one, column = labels.unsqueeze(1), logits.new_zeros(1, logits.shape[1])  # exp 0 is the 1
    positive = torch.full_like(logits, -math.inf).scatter(1, one, -target_logit.unsqueeze(1))
    negative = logits.scatter(1, one, -math.inf)
    attract, repel = (torch.cat([column, each]).logsumexp(0) for each in (positive, negative))
    return attract.sum() / len(labels.unique()) + repel.mean()


def _loss_weights(counts: Sequence[int], power: float) -> list[float]:
    """(C,) count^(−power), scaled so that their mean over the pictures is 1."""
    mean = sum(math.pow(count, 1 - power) for count in counts) / sum(counts)
    return [math.pow(count, -power) / mean for count in counts]
