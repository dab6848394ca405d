"""The class head: owns the class weights, the normalisation, the scale and the reduction to per-sample terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from eml.errors import ConfigError
from eml.head.config import HeadConfig
from eml.head.modes import Auto, Sampled
from eml.head.negatives import (
    LogitInputs,
    LogitSpec,
    NegativeTerms,
    RowBuilder,
    dense_cosine,
    dense_others,
    logits_of_others,
    no_others,
    repelled_columns,
    rows_at,
)
from eml.head.plan import Plan, plan_of
from eml.head.sampling import sample_of, step_rows
from eml.head.shards import Shard, drawn_rows
from eml.head.tiled import tiled_others
from eml.losses import Terms
from eml.margins import Context, Margin, Prototypes, Statistics
from eml.margins.base import to_unit


@dataclass(frozen=True)
class _Batch:
    """Embeddings (B, D) as they are compared, their lengths (B,) before that, and their labels."""

    embeddings: Tensor
    norms: Tensor
    labels: list[Tensor]


@dataclass(frozen=True)
class ActiveClasses:
    """The classes of a step that are here: all, or those sampled, of which ids (n,) and log_weights (n,) tell.

    places: of labels, −1 for one that is elsewhere. compared: how many classes there are in all processes; count: how
    many these stand for.
    """

    weights: Tensor
    places: list[Tensor]
    compared: int
    count: int
    ids: Tensor | None = None
    log_weights: Tensor | None = None


@dataclass(frozen=True)
class TargetTerms:
    """Of the target of each sample, (B,): cosine before margin and scale, logit after."""

    cosine: Tensor
    logit: Tensor
    context: Context


class ClassHead(nn.Module):
    """Class weights (C, D) or (C, K, D) and a margin: embeddings (B, D) and labels (B,) → per-sample Terms.

    Cosines and margins are computed in float32 with autocast off, in float64 if the embeddings are. The margin's state
    is kept in buffers: updated by each call in training mode, frozen in eval mode, where there are no random draws
    either. `progress` in [0, 1] is how far the training is, for a margin schedule. counts: images per class.
    class_weights: used as they are instead of weights of the head's own. dtype: of weights and state, torch's default
    unless given. shard: the classes that this process holds, where several share them: each gives the embeddings and
    labels of its part of the batch and gets the Terms of the whole batch, the same in all of them; the mean of their
    loss is the loss, and its gradient by what a process gave and holds is exact.
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
        shard: Shard | None = None,
    ) -> None:
        super().__init__()
        config = config or HeadConfig()
        self.shard = shard or Shard.whole(num_classes)
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
            self._add_state("memory", self.memory.initial_state(len(self.shard), embedding_size), dtype)
        self._sampled: list[tuple[Tensor, Tensor]] = []
        self._penalises_rows = type(margin).row_penalty is not Margin.row_penalty
        if isinstance(config.mode, Sampled):
            self.class_weights.requires_grad_(False)  # trained by `step`, through the rows that are sampled
            seed = torch.randint(2**62, (), dtype=torch.int64)
            self._add_state("sampling", {"seed": seed, "count": torch.zeros_like(seed)}, dtype)
            self._add_state("optimizer", config.mode.optimizer.initial_state(self.class_weights), dtype)
        by_class = config.class_margins.of(counts) if config.class_margins and counts else None
        weights = _loss_weights(counts, config.loss_weight_power) if config.loss_weight_power and counts else None
        for name, values in (("class_margins", by_class), ("loss_weights", weights)):
            self.register_buffer(name, None if values is None else torch.tensor(values, dtype=dtype), persistent=False)

    def _add_parameters(self, class_weights: Tensor | None, dtype: torch.dtype) -> None:
        def number(start: float) -> nn.Parameter:
            return nn.Parameter(torch.tensor(start, dtype=dtype))

        centers = max(self.config.centers, getattr(self.margin, "centers", 1))
        shape = (len(self.shard), *([centers] if centers > 1 else []), self.embedding_size)
        if class_weights is None:
            width = centers * self.embedding_size
            rows = drawn_rows(self.shard, width, dtype)
            class_weights = nn.Parameter(rows.view(shape).div_(math.sqrt(self.embedding_size)))
        self.class_weights = class_weights
        learned = self.config.scale == "learned"
        self.log_scale = number(math.log(self.first_scale)) if learned else None
        self.bias = None if self.margin.normalised else nn.Parameter(torch.zeros(len(self.shard), dtype=dtype))
        start = self.margin.initial_bias(self.num_classes, self.first_scale)
        self.logit_bias = number(start) if self.margin.reduction == "bce" else None

    @property
    def scale(self) -> float:
        """The scale in force, where it is one number: the head's, or AdaCos's."""
        with torch.no_grad():
            return float(self.state().get("scale", self._scale()))

    def by_class(self) -> set[str]:
        """Keys of state_dict whose tensors have a row for each class that is here."""
        parts = ("class_weights", "bias", "memory_queue", "memory_last")
        return {key for key in self.state_dict() if key in parts or key.startswith("optimizer_")}

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        draws: Tensor | None = None,
        classes: Tensor | None = None,
        counts: list[int] | None = None,
    ) -> Terms:
        """embeddings: (B, D), labels: (B,) int64 in [0, C).

        draws: (B,) to take instead of random ones. classes: (n,) sorted ids to compare with instead of a random sample,
        the labels among them; only in mode sampled. counts: how many embeddings each process gives; asked of them
        where they are not told.
        """
        return self._terms(embeddings, [labels], 1.0, [draws], classes, counts)[0]

    def mixed(
        self,
        embeddings: Tensor,
        labels: Tensor,
        labels_b: Tensor,
        share: float | Tensor,
        *,
        counts: list[int] | None = None,
    ) -> tuple[Terms, Terms]:
        """Terms for each of the two labels of mixed samples (mixup, cutmix), each with a margin of its own.

        share: weight of the first label in [0, 1], one number or (B,). The loss is `Loss.mixed` of the two. The large
        product is computed once for both.
        """
        what = f"{self.margin.reduction} loss" if self.margin.reduction != "softmax" else "memory of embeddings"
        if self.margin.reduction != "softmax" or self.memory is not None:
            raise ConfigError(f"mixup does not go with the {what} of margin {self.margin.type}")
        first, second = self._terms(embeddings, [labels, labels_b], share, [None, None], None, counts)
        return first, second

    def logits(self, embeddings: Tensor, labels: Tensor, *, draws: Tensor | None = None) -> Tensor:
        """(B, C) logits after margin and scale, for study: updates no state, draws nothing.

        Raises ValueError where several processes share the classes: none has all of them.
        """
        self._check(embeddings, labels)
        if self.shard.group is not None:
            raise ValueError("logits of all classes are asked of a head that has a part of them")
        with torch.autocast(embeddings.device.type, enabled=False):
            batch = self._batch(embeddings, [labels])
            context = self._context(batch, 0, self._target_cosine(batch, 0, self.class_weights[labels]), draws)
            scale = self._scale_in_force(context)
            rows = self._rows(self.class_weights.to(batch.embeddings.dtype), slice(None))
            spec = self._comparison(
                batch, ActiveClasses(self.class_weights, [labels], self.num_classes, self.num_classes), [context]
            )
            cosine = dense_cosine(spec, batch.embeddings, rows, self.bias)
            others = logits_of_others(spec, cosine, _detached(context), scale, self.logit_bias)
            return others.scatter(1, labels.unsqueeze(1), self._target_logit(context, scale).unsqueeze(1))

    def state(self, kind: str = "margin") -> dict[str, Tensor]:
        """Buffers by name, of the margin, or of `memory`, random `draws`, `sampling` or `optimizer`."""
        prefix = kind + "_"
        buffers = ((name, each) for name, each in self._buffers.items() if each is not None)
        return {name.removeprefix(prefix): each for name, each in buffers if name.startswith(prefix)}

    def sampled_rows(self) -> list[Tensor]:
        """The leaf tensors (n, …) of the class weights that were sampled since the last step, with their gradients."""
        return [rows for _, rows in self._sampled]

    def step(self, learning_rate: float, weight_decay: float = 0.0) -> None:
        """Update the class weights from the gradients of the rows sampled since the last step; else nothing."""
        if not isinstance(self.config.mode, Sampled):
            return
        touched = [(ids, rows.grad) for ids, rows in self._sampled if rows.grad is not None]
        self._sampled = []
        if touched:
            weights, state = self.class_weights.detach(), self.state("optimizer")
            step_rows(self.config.mode, weights, state, touched, learning_rate, weight_decay)

    def forget_step(self) -> None:
        """Drop the rows sampled since the last step, with their gradients."""
        self._sampled = []

    def plan(self, batch_size: int) -> Plan:
        """How it goes over the classes that are here, in the present mode, training or eval.

        batch_size: of all processes together, here and in `memory_needed`.
        """
        everything = isinstance(self.config.mode, Sampled) and not self.training
        return plan_of(
            Auto() if everything else self.config.mode,
            batch_size,
            self.num_classes,
            self.class_weights.shape[1] if self.class_weights.ndim == 3 else 1,
            self.embedding_size,
            bytes_each=self.class_weights.element_size(),
            on_cpu=self.class_weights.device.type == "cpu",
            world=self.shard.world,
        )

    def memory_needed(self, batch_size: int, optimizer_copies: int = 2) -> dict[str, int]:
        """Bytes in this process of class weights, their gradient, optimizer state and work for a batch: an estimate.

        optimizer_copies: how many tensors of the class weights' size the optimizer keeps, two for AdamW.
        """
        plan, weights = self.plan(batch_size), self.class_weights.numel() * self.class_weights.element_size()
        needed = {"weights": weights, "gradient": weights, "optimizer": optimizer_copies * weights}
        if isinstance(self.config.mode, Sampled):  # the rows of a step and their gradient
            state = self.state("optimizer").values()
            needed["gradient"] = 2 * weights * plan.compared // plan.here
            needed["optimizer"] = sum(each.numel() * each.element_size() for each in state)
        return needed | {"work": plan.work()}

    def _add_state(self, kind: str, state: dict[str, Tensor], dtype: torch.dtype) -> None:
        for name, value in state.items():
            self.register_buffer(f"{kind}_{name}", value.to(dtype if value.is_floating_point() else value.dtype))

    def _set_state(self, kind: str, state: dict[str, Tensor]) -> None:
        """New tensors in the buffers' place: the old ones may be in the graph of a step not yet gone back through."""
        for name, value in state.items():
            before = getattr(self, f"{kind}_{name}")
            setattr(self, f"{kind}_{name}", value.detach().to(before.dtype))

    def _terms(
        self,
        embeddings: Tensor,
        labels: list[Tensor],
        share: float | Tensor,
        draws: list[Tensor | None],
        classes: Tensor | None,
        counts: list[int] | None,
    ) -> list[Terms]:
        for each in labels:
            self._check(embeddings, each)
        counts = counts or self.shard.counts(embeddings)
        if counts[self.shard.rank] != len(embeddings):
            raise ValueError(f"process {self.shard.rank} gives {len(embeddings)} embeddings, counts says {counts}")
        embeddings, *labels = (self.shard.gathered(each, counts) for each in (embeddings, *labels))
        if isinstance(share, Tensor) and share.ndim:
            share = self.shard.gathered(share, counts)
        with torch.autocast(embeddings.device.type, enabled=False):
            if self.training and self.memory is not None:
                self._set_state("memory", {"steps": self.state("memory")["steps"] + 1})
            batch = self._batch(embeddings, labels)
            given = self._given(labels, classes)
            if self.training:
                self._update(batch, given, share)
                draws = [self._drawn(len(embeddings)) if each is None else each for each in draws]
            terms = self._compared(batch, given, draws)
            if self.training and self.memory is not None:
                here = (given_places := self.shard.places(labels[0])) >= 0
                self.memory.after(batch.embeddings[here], given_places[here], self.state("memory"))
        return terms

    def _batch(self, embeddings: Tensor, labels: list[Tensor]) -> _Batch:
        x = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        norms = torch.linalg.vector_norm(x, dim=1)
        return _Batch(self.shard.into(to_unit(x) if self.margin.normalised else x), norms, labels)

    def _given(self, labels: list[Tensor], classes: Tensor | None) -> ActiveClasses:
        """The classes of this step; sampled rows are leaf tensors of their own, so that no dense gradient is made."""
        mode = self.config.mode
        if not isinstance(mode, Sampled) or not self.training:
            if classes is not None:
                raise ValueError("classes can only be given in mode sampled, in training")
            return ActiveClasses(self.class_weights, self._places(labels), self.num_classes, self.num_classes)
        positives, state = torch.cat(labels).unique(), self.state("sampling")
        if classes is None:
            self._set_state("sampling", {"count": state["count"] + 1})
        elif not bool(torch.isin(positives, classes).all()):
            raise ValueError("classes must contain all labels of the batch")
        seed = int(state["seed"]) + int(state["count"])
        sample = sample_of(mode, self.shard, positives, seed, classes, self.class_weights.dtype)
        ids = sample.ids - self.shard.start
        rows = self.class_weights.detach()[ids].requires_grad_()
        if torch.is_grad_enabled():
            self._sampled.append((ids, rows))
        places = [_places_among(ids, self.shard.places(each)) for each in labels]
        return ActiveClasses(rows, places, sample.compared, sample.count, ids, sample.log_weights)

    def _places(self, labels: list[Tensor]) -> list[Tensor]:
        return [self.shard.places(each) for each in labels]

    def _rows(self, class_weights: Tensor, ids: Tensor | slice) -> Tensor:
        """What cosines are taken with: (…, D) rows `ids` of the class weights, of unit length, with memory mixed in."""
        rows = to_unit(class_weights) if self.margin.normalised else class_weights
        return rows if self.memory is None else self.memory.rows(rows, ids, self.state("memory"))

    def _target_cosine(self, batch: _Batch, index: int, class_weights: Tensor) -> Tensor:
        """(B,) row-wise, so that it is the same number however the classes are split up.

        class_weights: (B, …) rows of the labels, zeros for those of another process.
        """
        x, places = batch.embeddings, self.shard.places(batch.labels[index])
        rows = self._rows(class_weights.to(x.dtype), places.clamp_min(0))
        cosine = (x.view(len(x), *[1] * (rows.ndim - 2), -1) * rows).sum(-1)
        if rows.ndim == 3:
            cosine = self.margin.pool(cosine.unsqueeze(1)).squeeze(1)
        if self.bias is not None and len(self.bias):
            cosine = cosine + self.bias[places.clamp_min(0)]
        return cosine if self.shard.group is None else self.shard.total(cosine * (places >= 0))

    def _comparison(self, batch: _Batch, given: ActiveClasses, contexts: list[Context]) -> LogitSpec:
        return LogitSpec(
            margin=self.margin,
            targets=given.places,
            contexts=[_detached(each) for each in contexts],
            compared=given.compared,
            normalised=self.margin.normalised,
            rows=None if self.memory is None else self._remembering_rows(self.memory, given),
            log_weights=None if given.log_weights is None else given.log_weights.to(batch.embeddings.dtype),
            row_penalty=self._penalises_rows,
            low_precision=self.config.product == "bfloat16",
        )

    def _remembering_rows(self, memory: Prototypes, given: ActiveClasses) -> RowBuilder:
        """Rows with the memory as it is now: the batch is written into it before the backward pass asks for them."""
        state = self.state("memory")
        places = torch.cat(given.places)
        places = places[places >= 0]
        labels = places if given.ids is None else given.ids[places]
        before = {name: state[name][labels] for name in ("queue", "last")}

        def rows(class_weights: Tensor, part: slice) -> Tensor:
            start, stop, _ = part.indices(len(given.weights))
            inside = (places >= start) & (places < stop)
            now = {"steps": state["steps"]}
            for name, old in before.items():
                now[name] = state[name][slice(start, stop) if given.ids is None else given.ids[start:stop]].clone()
                now[name][places[inside] - start] = old[inside]
            return memory.rows(to_unit(class_weights), slice(None), now)

        return rows

    def _others(self, spec: LogitSpec, batch: _Batch, given: ActiveClasses, scale: Tensor) -> NegativeTerms:
        """Over the classes of all processes; the rows are those that are here."""
        bias = self.bias if self.bias is None or given.ids is None else self.bias[given.ids]
        shard, plan = self.shard, self.plan(len(batch.embeddings))
        logit_bias = None if self.logit_bias is None else shard.into(self.logit_bias)
        compared = LogitInputs(batch.embeddings, given.weights, bias, shard.into(scale), logit_bias)
        if not len(given.weights):
            found = no_others(spec, compared)
        elif plan.tile is None:
            found = dense_others(spec, compared)
        else:
            found = tiled_others(spec, compared, tile=plan.tile, keep=plan.kept if torch.is_grad_enabled() else 0)
        return found if shard.group is None else _over_shards(found, shard)

    def _update(self, batch: _Batch, given: ActiveClasses, share: float | Tensor) -> None:
        """The margin's state, once for all labels of the samples."""
        with torch.no_grad():
            weights = [rows_at(given.weights, places) for places in given.places]
            targets = [self._target_cosine(batch, index, each) for index, each in enumerate(weights)]
            cosine_y = targets[0] if len(targets) == 1 else share * targets[0] + (1 - share) * targets[1]
            others = None
            if "others" in self.margin.inputs:
                context = Context(cosine_y, state=self._margin_state(cosine_y.dtype))
                spec = replace(self._comparison(batch, given, [context]), plain=True, row_penalty=False)
                others = self._others(spec, batch, given, cosine_y.new_tensor(self.scale)).log_sum_exp[0]
            statistics = Statistics(cosine_y, batch.norms.detach(), others)
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

    def _context(self, batch: _Batch, index: int, cosine_y: Tensor, draws: Tensor | None) -> Context:
        ranks = cosine_y.detach().argsort(stable=True).argsort() if "ranks" in self.margin.inputs else None
        return Context(
            cosine_y=cosine_y,
            m=self._margin_in_force(batch.labels[index], cosine_y.dtype),
            norms=batch.norms,
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

    def _scale_in_force(self, context: Context) -> Tensor:
        """() or (B,)."""
        scale = self.margin.scale(self._scale(), context)
        return scale if isinstance(scale, Tensor) else context.cosine_y.new_tensor(scale)

    def _target_logit(self, context: Context, scale: Tensor) -> Tensor:
        logit = scale * self.margin.target(context.cosine_y, context)
        return logit if self.logit_bias is None else logit + self.logit_bias

    def _compared(self, batch: _Batch, given: ActiveClasses, draws: list[Tensor | None]) -> list[Terms]:
        """Terms for each label. All targets are left out of the reductions; each comes back by a term of its own."""
        with torch.no_grad():
            known = [
                self._context(
                    batch, index, self._target_cosine(batch, index, rows_at(given.weights, places)), draws[index]
                )
                for index, places in enumerate(given.places)
            ]
        scale = self._scale_in_force(replace(known[0], norms=batch.norms))
        shared = type(self.margin).negatives is Margin.negatives
        spec = self._comparison(batch, given, known[:1] if shared else known)
        others = self._others(spec, batch, given, scale)
        owns = []
        for index, rows in enumerate(others.rows):
            cosine_y = self._target_cosine(batch, index, rows)
            context = self._context(batch, index, cosine_y, draws[index])
            owns.append(TargetTerms(cosine_y, self._target_logit(context, scale), context))
        return [self._reduced(batch, given, spec, others, scale, owns, index) for index in range(len(owns))]

    def _reduced(
        self,
        batch: _Batch,
        given: ActiveClasses,
        spec: LogitSpec,
        others: NegativeTerms,
        scale: Tensor,
        owns: list[TargetTerms],
        index: int,
    ) -> Terms:
        own, part = owns[index], min(index, len(spec.contexts) - 1)
        log_sum_exp = torch.logaddexp(own.logit, others.log_sum_exp[part])
        total, nearest = others.total[part] + own.logit, others.nearest
        if len(owns) > 1:  # the other label is a class like any other, unless it is the same
            other, same = owns[1 - index].cosine, batch.labels[0] == batch.labels[1]
            context = _detached(own.context)
            logit = logits_of_others(spec, other.unsqueeze(1), context, scale, self.logit_bias).squeeze(1)
            log_sum_exp = torch.logaddexp(log_sum_exp, logit.masked_fill(same, -math.inf))
            total = total + logit.masked_fill(same, 0.0)
            nearest = torch.maximum(nearest, other.detach().masked_fill(same, -math.inf))
        labels = batch.labels[index]
        return Terms(
            target_logit=own.logit,
            log_sum_exp=log_sum_exp,
            mean_logit=total / given.count,
            cosine_y=own.cosine.detach(),
            correct=own.cosine.detach() >= nearest,
            nearest=nearest,
            objective=self._objective(others, own.logit, labels, given.count),
            factor=self.margin.loss_factor(self._scale()),
            weight=None if self.loss_weights is None else self.loss_weights.to(own.logit.dtype)[labels],
            penalty=self._penalty(others, own.context),
        )

    def _objective(self, others: NegativeTerms, target_logit: Tensor, labels: Tensor, count: int) -> Tensor | None:
        """(B,) losses of a margin that is no softmax over classes."""
        match self.margin.reduction:
            case "softmax":
                return None
            case "bce":
                assert others.softplus is not None
                positive, negative = self.margin.balance()
                return -positive * logsigmoid(target_logit) + negative * others.softplus
            case "proxy":
                assert others.repelled is not None
                return (_attraction(target_logit, labels) + others.repelled / count).expand(len(labels))

    def _penalty(self, others: NegativeTerms, context: Context) -> Tensor | None:
        own, shared = self.margin.penalty(context), others.row_penalty
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


def _detached(context: Context) -> Context:
    """As the other classes' cosines may see it: nothing of the target gets a gradient from there."""
    norms = None if context.norms is None else context.norms.detach()
    return replace(context, cosine_y=context.cosine_y.detach(), norms=norms)


def _over_shards(part: NegativeTerms, shard: Shard) -> NegativeTerms:
    """The reductions over all classes from those over each process's."""
    return NegativeTerms(
        part.rows,
        [shard.log_sum_exp(each) for each in part.log_sum_exp],
        [shard.total(each) for each in part.total],
        shard.largest(part.nearest),
        *(None if each is None else shard.total(each) for each in (part.softplus, part.repelled, part.row_penalty)),
    )


def _places_among(ids: Tensor, places: Tensor) -> Tensor:
    """Places (B,) among all classes → among the sorted ids, −1 staying what it is."""
    return torch.where(places >= 0, torch.searchsorted(ids, places), -1)


def _attraction(target_logit: Tensor, labels: Tensor) -> Tensor:
    """() mean over the batch's classes of ln(1+Σ exp(−z)) over the samples of each. (B,), (B,)."""
    classes, places = labels.unique(return_inverse=True)
    own = target_logit.new_full((len(labels), len(classes)), -math.inf)
    own = own.scatter(1, places.unsqueeze(1), -target_logit.unsqueeze(1))
    return repelled_columns(own).mean()


def _loss_weights(counts: Sequence[int], power: float) -> list[float]:
    """(C,) count^(−power), scaled so that their mean over the images is 1."""
    mean = sum(math.pow(count, 1 - power) for count in counts) / sum(counts)
    return [math.pow(count, -power) / mean for count in counts]
